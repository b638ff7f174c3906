"""Dagster in process: one instance for all tests, and what a failed run says."""

from __future__ import annotations

import os

os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"

import dagster as dg
import pytest

from dagster_resources import LakeFSResource


@pytest.fixture(scope="session")
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def resource(lakefs):
    return LakeFSResource(
        endpoint=lakefs.endpoint, access_key_id=lakefs.access_key_id, secret_access_key=lakefs.secret_access_key
    )


@pytest.fixture
def materialize(instance):
    """Materializes assets as `dg.materialize` does; the failure is in the result."""

    def materialize(assets, lakefs, **arguments):
        return dg.materialize(
            assets, instance=instance, resources={"lakefs": lakefs}, raise_on_error=False, **arguments
        )

    return materialize


def sentence(result: dg.ExecuteInProcessResult) -> str:
    """Return what Dagster shows as the cause of the run's failure."""
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    error = failure.step_failure_data.error
    return (error.cause or error).message.strip()


@pytest.fixture(name="sentence")
def sentence_():
    return sentence
