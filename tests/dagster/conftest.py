"""Dagster in process: one instance for all tests, and what a failed run says."""

from __future__ import annotations

import os

os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"

import dagster as dg
import pytest

from dagster_resources import LakeFSIOManager, LakeFSResource


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


@pytest.fixture
def io_manager(resource, lakefs_repository):
    """Returns an IO manager for the repository."""

    def io_manager(**settings):
        return LakeFSIOManager(**{"lakefs": resource, "repository": lakefs_repository, **settings})

    return io_manager


@pytest.fixture
def io_run(io_manager, instance):
    """Materializes assets with an IO manager."""

    def io_run(*assets, settings=None, resources=None, **arguments):
        resources = {"io_manager": io_manager(**(settings or {})), **(resources or {})}
        return dg.materialize(assets, instance=instance, resources=resources, **{"raise_on_error": False, **arguments})

    return io_run


@pytest.fixture
def commit_to_main(lakefs, lakefs_repository):
    """Commits objects to main, and returns the commit's id."""

    def commit_to_main(objects):
        for path, content in objects.items():
            lakefs.client.objects.upload(lakefs_repository, "main", path, content)
        return lakefs.client.commits.create(lakefs_repository, "main", message="Somebody", allow_empty=True).id

    return commit_to_main
