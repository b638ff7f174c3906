"""Two plain faults of lakeFS 1.84 are recorded; this server does the right thing there."""

from __future__ import annotations

import uuid

import pytest
import requests


class Repository:
    """A repository over plain HTTP."""

    def __init__(self, server):
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.auth = (server.access_key_id, server.secret_access_key)
        name = f"defects-{uuid.uuid4().hex[:12]}"
        self._base = f"{server.endpoint}/api/v1/repositories"
        answer = self._session.post(self._base, json={"name": name, "storage_namespace": f"local://{name}"}, timeout=30)
        assert answer.status_code == 201, answer.text
        self._base += f"/{name}"

    def close(self):
        self._session.close()

    def call(self, method, path, **arguments):
        return self._session.request(method, f"{self._base}{path}", timeout=30, **arguments)

    def put(self, branch, path, content):
        answer = self.call("POST", f"/branches/{branch}/objects", params={"path": path}, data=content)
        assert answer.status_code == 201, answer.text

    def delete(self, branch, path):
        assert self.call("DELETE", f"/branches/{branch}/objects", params={"path": path}).status_code == 204

    def commit(self, branch, message, **more):
        answer = self.call("POST", f"/branches/{branch}/commits", json={"message": message, **more})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def branch(self, name, source="main"):
        assert self.call("POST", "/branches", json={"name": name, "source": source}).status_code == 201

    def paths(self, ref):
        return [item["path"] for item in self.call("GET", f"/refs/{ref}/objects/ls").json()["results"]]


@pytest.fixture
def repository(server):
    made = Repository(server)
    yield made
    made.close()


def test_a_merge_keeps_an_added_object_that_equals_a_deleted_one(repository):
    repository.put("main", "a.txt", b"a")
    repository.put("main", "z.txt", b"content")
    repository.commit("main", "base")
    repository.branch("dev")
    repository.put("dev", "m.txt", b"content")
    repository.delete("dev", "z.txt")
    repository.commit("dev", "renames z to m")
    repository.put("main", "a.txt", b"changed")
    repository.delete("main", "z.txt")
    repository.commit("main", "deletes z, changes a")

    assert repository.call("POST", "/refs/dev/merge/main", json={}).status_code == 200
    assert repository.paths("main") == ["a.txt", "m.txt"]


def test_two_different_additions_conflict_though_one_equals_a_later_object(repository):
    repository.put("main", "z.txt", b"content")
    repository.commit("main", "base")
    repository.branch("one")
    repository.branch("two")
    repository.put("one", "k.txt", b"content")
    repository.commit("one", "k as z is")
    repository.put("two", "k.txt", b"another")
    repository.commit("two", "k with something else")

    assert repository.call("POST", "/refs/one/merge/two", json={}).status_code == 409
    assert repository.call("GET", "/refs/two/objects", params={"path": "k.txt"}).content == b"another"


def test_a_cherry_picked_commit_stays_as_it_was(repository):
    repository.put("main", "m", b"1")
    repository.commit("main", "m")
    repository.branch("dev", "main~1")
    repository.put("dev", "d", b"1")
    original = repository.commit("dev", "with metadata", metadata={"k": "v"})

    copy = repository.call("POST", "/branches/main/cherry-pick", json={"ref": "dev"})
    assert copy.status_code == 201, copy.text
    assert copy.json()["metadata"] == {
        "k": "v",
        "cherry-pick-origin": original["id"],
        "cherry-pick-committer": "quickstart",
    }
    for name in (original["id"], original["id"][:12], "dev"):
        assert repository.call("GET", f"/commits/{name}").json() == original
    assert repository.paths(original["id"]) == ["d"]
    assert repository.call("POST", "/tags", json={"id": "t", "ref": original["id"]}).status_code == 201
