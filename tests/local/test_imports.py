"""Imports that take a while: how far they are can be seen, and they can be stopped."""

import time
import uuid

import pytest

from lakefs_ops import LakeFSClient
from lakefs_ops.api.common import CommitCreation
from lakefs_ops.api.imports import ImportLocation
from lakefs_ops.local import LocalLakeFS
from lakefs_ops.local.store import imports

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
    with (
        LocalLakeFS(allow_import=[folder]) as server,
        LakeFSClient(
            server.endpoint, access_key_id=server.access_key_id, secret_access_key=server.secret_access_key
        ) as client,
    ):
        client.repositories.create(name="lake", storage_namespace=f"local://{uuid.uuid4()}")
        yield client


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


def test_an_import_is_stopped_on_its_way(client, folder):
    id = start(client, folder)
    next(status for status in statuses(client, id) if status.ingested_objects)
    client.imports.cancel("lake", "main", id)
    (stopped,) = statuses(client, id)
    assert stopped.error.message == "import error: Canceled"
    time.sleep(0.2)
    assert client.imports.status("lake", "main", id).ingested_objects < FILES
    assert list(client.objects.list("lake", "main")) == []
