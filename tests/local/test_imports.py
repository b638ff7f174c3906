"""Imports that take a while: how far they are can be seen, and they can be stopped."""

import time
import uuid

import pytest

from lakefs_ops import LakeFSClient, errors
from lakefs_ops.api.common import CommitCreation
from lakefs_ops.api.imports import ImportLocation
from lakefs_ops.local import LocalLakeFS
from lakefs_ops.local.store import imports
from lakefs_ops.transfer import delete_tree

FILES = 3000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("in")
    for number in range(FILES):
        (folder / f"{number:04}").write_text("x")
    return folder


@pytest.fixture
def client(folder, monkeypatch):
    monkeypatch.setattr(imports, "REFRESH", 0.01)
    with LocalLakeFS(allow_import=[folder]) as server, server_client(server) as client:
        client.repositories.create(name="lake", storage_namespace=f"local://{uuid.uuid4()}")
        yield client


def server_client(server):
    return LakeFSClient(server.endpoint, access_key_id=server.access_key_id, secret_access_key=server.secret_access_key)


def start(client, folder):
    location = ImportLocation(type="common_prefix", path=f"local://{folder}/", destination="in/")
    return client.imports.start("lake", "main", paths=[location], commit=CommitCreation(message="import")).id


def statuses(client, id):
    while True:
        status = client.imports.status("lake", "main", id)
        yield status
        if status.completed or status.error:
            return
        time.sleep(0.001)


def test_an_import_is_seen_to_move(client, folder):
    seen = list(statuses(client, start(client, folder)))
    assert seen[-1].ingested_objects == FILES
    counts = [status.ingested_objects for status in seen]
    assert counts == sorted(counts)
    assert any(0 < count < FILES for count in counts)
    assert seen[0].update_time != seen[-1].update_time


def test_a_file_with_a_percent_sign_has_an_address_that_cannot_be_listed(monkeypatch, tmp_path):
    """As on lakeFS 1.84; the advice of the error works."""
    monkeypatch.setattr(imports, "REFRESH", 0.01)
    odd = tmp_path / "growth 100%.csv"
    odd.write_text("1")
    with LocalLakeFS(allow_import=[tmp_path]) as server, server_client(server) as client:
        client.repositories.create(name="lake", storage_namespace=f"local://{uuid.uuid4()}")
        assert list(statuses(client, start(client, tmp_path)))[-1].completed
        path = f"in/{odd.name}"
        for refused in (
            lambda: list(client.objects.list("lake", "main")),
            lambda: client.objects.stat("lake", "main", path),
        ):
            with pytest.raises(errors.InvalidAddress, match=r"growth 100%.csv.*delete the object by its path"):
                refused()
        assert client.objects.get("lake", "main", path) == b"1"
        assert client.objects.head("lake", "main", path).size_bytes == 1
        client.objects.delete("lake", "main", path)
        assert [change.path for change in client.branches.diff("lake", "main")] == [path]
        assert list(client.objects.list("lake", "main")) == []
        client.branches.reset("lake", "main", type="object", path=path)
        client.objects.upload("lake", "main", "in/new.csv", b"1")
        client.objects.upload("lake", "main", "kept.csv", b"1")
        planned = delete_tree(client, "lake", "main", "in", dry_run=True)
        assert delete_tree(client, "lake", "main", "in") == planned
        assert (planned.paths, planned.bytes) == ((path, "in/new.csv"), 2)
        assert [entry.path for entry in client.objects.list("lake", "main")] == ["kept.csv"]


def test_an_import_is_stopped_on_its_way(client, folder):
    id = start(client, folder)
    next(status for status in statuses(client, id) if status.ingested_objects)
    client.imports.cancel("lake", "main", id)
    (stopped,) = statuses(client, id)
    assert stopped.error.message == "import error: Canceled"
    time.sleep(0.2)
    assert client.imports.status("lake", "main", id).ingested_objects < FILES
    assert list(client.objects.list("lake", "main")) == []
