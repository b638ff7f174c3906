"""The verbs without a key may be repeated: they accept what exists as wanted, and nothing else."""

import pytest

from lakefs_ops import errors
from lakefs_ops.flows import ensure
from lakefs_ops.flows.step import Step


def test_a_branch_is_made_once(client, proxy, lakefs_repository):
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/branches")
    first = ensure.ensure_branch(client, lakefs_repository, "run", source="main")
    assert ensure.ensure_branch(client, lakefs_repository, "run", source="main") == first


def test_a_branch_of_others_is_a_conflict_that_says_whose(client, lakefs_repository, dev):
    with pytest.raises(errors.AlreadyExists, match=r"'dev' exists .*'work' by quickstart"):
        ensure.ensure_branch(client, lakefs_repository, "dev", source="main", retried=True, key="dag/run")


def test_a_retried_run_finds_the_branch_it_committed_on(client, lakefs_repository, write):
    ensure.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run")
    write("run", a="1")
    made = Step(client, lakefs_repository, "dag/run/land").commit("run", message="land")
    assert ensure.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run", retried=True) == made
    with pytest.raises(errors.AlreadyExists):
        ensure.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run")


def test_a_retried_run_keeps_its_snapshot_when_the_source_moved(client, lakefs, lakefs_repository, write):
    first = ensure.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run")
    write(a="1")
    lakefs.client.commits.create(lakefs_repository, "main", message="land")
    assert ensure.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run", retried=True) == first


def test_tags_and_repositories_are_made_once(client, proxy, lakefs, lakefs_repository, write):
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/tags")
    first = ensure.ensure_tag(client, lakefs_repository, "v1", ref="main")
    assert ensure.ensure_tag(client, lakefs_repository, "v1", ref="main") == first
    write(a="1")
    lakefs.client.commits.create(lakefs_repository, "main", message="land")
    with pytest.raises(errors.AlreadyExists, match=r"tag 'v1' exists .* points to commit"):
        ensure.ensure_tag(client, lakefs_repository, "v1", ref="main")
    name = f"{lakefs_repository}-two"
    namespace = f"{client.repositories.get(lakefs_repository).storage_namespace}-two"
    proxy.lose("POST /api/v1/repositories ")
    assert ensure.ensure_repository(client, name, storage_namespace=namespace).id == name
    with pytest.raises(errors.AlreadyExists, match="stores its data in"):
        ensure.ensure_repository(client, name, storage_namespace=f"{namespace}-elsewhere")


def test_a_branch_is_deleted_once(client, proxy, lakefs_repository, dev):
    proxy.lose(f"DELETE /api/v1/repositories/{lakefs_repository}/branches/dev")
    assert ensure.delete_branch_if_exists(client, lakefs_repository, "dev")
    assert not ensure.delete_branch_if_exists(client, lakefs_repository, "dev")
