"""Environments: what says main is the environment's own branch, and main itself never changes."""

import copy
import re

import dagster as dg
import pytest

from dagster_resources import LakeFSResource
from dagster_resources.environments import Environment, find_environment
from lakefs_ops.errors import ConfigurationError, InvalidArgument

HEX = "[0-9a-f]{16}"


@pytest.fixture
def staging(resource):
    resource = resource.model_copy(update={"environment": "staging"})
    yield resource
    resource.get_client().close()


@pytest.fixture
def main(lakefs, lakefs_repository):
    lakefs.client.objects.upload(lakefs_repository, "main", "a.csv", b"main")
    return lakefs.client.commits.create(lakefs_repository, "main", message="main").id


@pytest.mark.parametrize(
    ("name", "branch", "expected"),
    [
        ("staging", "main", "env-staging"),
        ("staging", "trunk", "env-staging--trunk"),
        ("staging", "env-staging", "env-staging"),
        ("staging", "env-staging--trunk", "env-staging--trunk"),
        ("staging", "env-staging2", "env-staging--env-staging2"),
        ("feature/x y", "main", f"env-feature-x-y-{HEX}"),
        ("a--b", "main", f"env-a-b-{HEX}"),
        ("ü", "main", f"env-run-{HEX}"),
    ],
)
def test_names_of_branches(name, branch, expected):
    environment = Environment(name)
    found = environment.branch(branch)
    assert re.fullmatch(expected, found)
    assert environment.branch(found) == found
    if not branch.startswith("env-staging"):
        assert environment.base(found) == branch


BRANCH_DEPLOYMENT = {"DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT": "1"}


@pytest.mark.parametrize(
    ("name", "variables", "expected"),
    [
        (None, BRANCH_DEPLOYMENT, None),
        ("production", BRANCH_DEPLOYMENT, None),
        ("staging", {}, "staging"),
        ("auto", {}, None),
        ("auto", {"DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT": "0", "DAGSTER_CLOUD_PULL_REQUEST_ID": "7"}, None),
        ("auto", {**BRANCH_DEPLOYMENT, "DAGSTER_CLOUD_PULL_REQUEST_ID": "7"}, "pr-7"),
        ("auto", {**BRANCH_DEPLOYMENT, "DAGSTER_CLOUD_DEPLOYMENT_NAME": "abc123"}, "abc123"),
    ],
)
def test_the_environment_of_a_deployment(name, variables, expected):
    found = find_environment(name, variables)
    assert (found and found.name) == expected


@pytest.mark.parametrize(
    ("name", "variables", "message"),
    [
        ("auto", BRANCH_DEPLOYMENT, "the branch deployment has neither DAGSTER_CLOUD_PULL_REQUEST_ID nor"),
        (" ", {}, "environment is empty; set it to a name, or to 'production'"),
    ],
)
def test_an_environment_without_a_name_is_not_production(name, variables, message):
    with pytest.raises(ConfigurationError, match=message):
        find_environment(name, variables)


def test_a_variable_that_is_not_set_is_not_production(resource, monkeypatch):
    monkeypatch.delenv("LAKE_ENVIRONMENT", raising=False)
    resource = resource.model_copy(update={"environment": dg.EnvVar("LAKE_ENVIRONMENT")})
    for use in (resource.get_client, resource.branch):
        with pytest.raises(ConfigurationError, match="environment needs the environment variable LAKE_ENVIRONMENT"):
            use()
    monkeypatch.setenv("LAKE_ENVIRONMENT", "dev")
    assert resource.branch() == "env-dev"


def test_production_is_main_itself(resource, lakefs, lakefs_repository):
    assert resource.branch("main", repository=lakefs_repository) == "main"
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]


def test_a_run_reads_and_publishes_to_the_branch_of_the_environment(
    staging, lakefs, lakefs_repository, main, materialize
):
    repository, content = lakefs_repository, iter([b"first", b"second"])

    @dg.asset
    def table(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> bytes:
        branch, client = lakefs.run_branch(context, repository), lakefs.get_client()
        before = client.objects.get(repository, branch.ensure(), "a.csv")
        client.objects.upload(repository, branch.name, "a.csv", next(content))
        branch.commit("change")
        return before

    @dg.asset_check(asset=table, blocking=True)
    def judged(context: dg.AssetCheckExecutionContext, lakefs: LakeFSResource):
        assert lakefs.run_branch(context, repository).ref
        return dg.AssetCheckResult(passed=True)

    @dg.asset(deps=[table])
    def published(context: dg.AssetExecutionContext, lakefs: LakeFSResource):
        lakefs.run_branch(context, repository).publish("publish")

    assets = [table, judged, published]
    assert materialize(assets, staging).output_for_node("table") == b"main"
    lakefs.client.objects.upload(repository, "main", "a.csv", b"newer")
    newer = lakefs.client.commits.create(repository, "main", message="newer").id
    assert materialize(assets, copy.copy(staging)).output_for_node("table") == b"first"
    assert lakefs.client.objects.get(repository, "env-staging", "a.csv") == b"second"
    assert lakefs.client.branches.get(repository, "main").commit_id == newer
    assert [branch.id for branch in lakefs.client.branches.list(repository)] == ["env-staging", "main"]


def test_the_client_refuses_to_change_main(staging, lakefs, lakefs_repository, main):
    client, repository = staging.get_client(), lakefs_repository
    own = staging.branch("main", repository=repository)
    client.objects.upload(repository, own, "b.csv", b"b")
    client.commits.create(repository, own, message="own")
    pull = client.pulls.create(repository, title="own", source_branch=own, destination_branch="main")
    refused = {
        "uploadObject": lambda: client.objects.upload(repository, "main", "b.csv", b"b"),
        "deleteObject": lambda: client.objects.delete(repository, "main", "a.csv"),
        "commit": lambda: client.commits.create(repository, "main", message="x"),
        "mergeIntoBranch": lambda: client.refs.merge(repository, own, "main"),
        "revertBranch": lambda: client.branches.revert(repository, "main", ref=main, parent_number=1),
        "hardResetBranch": lambda: client.branches.hard_reset(repository, "main", ref=f"{main}~1"),
        "mergePullRequest": lambda: client.pulls.merge(repository, pull.id),
    }
    for operation, change in refused.items():
        with pytest.raises(InvalidArgument, match=rf"^{operation}\(.*was not sent: environment 'staging' must not"):
            change()
    assert lakefs.client.branches.get(repository, "main").commit_id == main
    assert lakefs.client.branches.diff(repository, "main").first() is None
    assert client.objects.get(repository, "main", "a.csv") == b"main"


def test_another_default_branch_is_not_changed_either(staging, lakefs, lakefs_repository):
    storage = lakefs.client.repositories.get(lakefs_repository).storage_namespace
    trunk = lakefs.client.repositories.create(
        name=f"{lakefs_repository}-trunk", storage_namespace=f"{storage}-trunk", default_branch="trunk"
    ).id
    with pytest.raises(InvalidArgument, match=r"must not change 'trunk'; use LakeFSResource.branch\('trunk'\)"):
        staging.get_client().objects.upload(trunk, "trunk", "a.csv", b"a")
    own = staging.branch("trunk", repository=trunk)
    staging.get_client().objects.upload(trunk, own, "a.csv", b"a")
    lakefs.client.repositories.delete(trunk, force=True)
