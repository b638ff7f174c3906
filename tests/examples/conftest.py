"""A repository with a year of weather on main, for each host."""

from __future__ import annotations

import os

os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"

import pytest

from example_dags import weather


class Lake:
    """What the examples left in a repository."""

    def __init__(self, client, repository):
        self.client, self.repository = client, repository
        self.history = weather.load_history(client, repository)
        self.before = self.commits()

    def commits(self, ref="main"):
        """Return the commits with data; a run's branch starts with an empty one."""
        log = self.client.refs.log(self.repository, ref)
        return [commit for commit in log if not commit.message.startswith("Create branch ")]

    def months(self, ref="main", folder="raw"):
        paths = [entry.path for entry in self.client.objects.list(self.repository, ref, prefix=f"{folder}/")]
        return [path.removeprefix(f"{folder}/").partition(".")[0] for path in paths]

    def branches(self):
        return [branch.id for branch in self.client.branches.list(self.repository) if branch.id != "main"]

    def raw(self, month, ref="main"):
        return self.client.objects.get(self.repository, ref, weather.raw_path(month))

    def assert_published(self, month, *, commit="Weather of {}"):
        """The month is on main by a merge commit, and nothing else is."""
        merge, batch, *before = self.commits()
        # An Airflow run's branch starts with an empty commit.
        assert [commit for commit in before if "lakefs-ops.branch" not in commit.metadata] == self.before
        assert merge.parents == [self.before[0].id, batch.id]
        assert merge.message == f"Publish the weather of {month}"
        assert batch.message == commit.format(month)
        for folder in ("raw", "daily", "summary"):
            assert self.months(folder=folder) == [*self.history, month]
        for path, table in weather.tables(weather.DATA / "monthly", month).items():
            assert self.client.objects.get(self.repository, "main", path) == table


@pytest.fixture(scope="module")
def lake(lakefs, lakefs_repository_factory):
    return Lake(lakefs.client, lakefs_repository_factory())
