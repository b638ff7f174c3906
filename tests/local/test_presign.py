"""Presigned addresses of the embedded lakeFS, through the client and by hand."""

from __future__ import annotations

import hashlib
import time
import urllib.error
import urllib.request

import pytest

from lakefs_ops import LakeFSClient, errors
from lakefs_ops.api.staging import UploadPart
from lakefs_ops.local import LocalLakeFS
from lakefs_ops.local.faults import Fault
from lakefs_ops.transfer import download_file, open_reader, upload_file

MIB = 1 << 20


@pytest.fixture(scope="module")
def server():
    with LocalLakeFS(presign=True) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    keys = {"access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key}
    with LakeFSClient(server.endpoint, **keys) as client:
        client.repositories.create(name="lake", storage_namespace="local://lake")
        yield client


@pytest.fixture(autouse=True)
def clean(server):
    server.faults.clear()
    yield
    server.faults.clear()


def get(url, *, method="GET", data=None, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    with urllib.request.urlopen(urllib.request.Request(url, data, names, method=method)) as answer:
        return answer.status, answer.read()


def test_the_server_says_so(client):
    storage = client.server.storage()
    assert (storage.pre_sign_support, storage.pre_sign_multipart_upload) == (True, True)


def test_a_file_goes_to_the_store_in_one_piece(client, server, tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"one piece")
    stats = upload_file(client, "lake", "main", "one", source, presign=True, metadata={"k": "v"})
    assert (stats.size_bytes, stats.metadata) == (9, {"k": "v"})
    download_file(client, "lake", "main", "one", target, presign=True)
    assert target.read_bytes() == b"one piece"
    calls = server.faults.calls
    assert (calls["presigned:write"], calls["linkPhysicalAddress"], calls["presigned:read"]) == (1, 1, 1)
    assert calls["uploadObject"] == calls["getObject"] == 0


def test_a_large_file_goes_to_the_store_in_parts(client, server, tmp_path):
    source = tmp_path / "a"
    source.write_bytes(bytes(range(256)) * (13 * MIB // 256))
    stats = upload_file(client, "lake", "main", "parts", source, presign=True, part_size=5 * MIB)
    assert stats.size_bytes == 13 * MIB
    assert stats.checksum.endswith("-3")
    assert server.faults.calls["presigned:part"] == 3
    with open_reader(client, "lake", "main", "parts", presign=True) as file:
        file.seek(5 * MIB - 1)
        assert file.read(2) == b"\xff\x00"
    assert client.objects.get("lake", "main", "parts") == source.read_bytes()
    commit = client.commits.create("lake", "main", message="parts")
    assert client.objects.get("lake", commit.id, "parts") == source.read_bytes()


def test_a_lost_answer_of_the_store_does_not_lose_a_part(client, server, tmp_path):
    source = tmp_path / "a"
    source.write_bytes(b"x" * (6 * MIB))
    lost = server.faults.add(Fault("presigned:part", when="after", action="reset"))
    upload_file(client, "lake", "main", "again", source, presign=True, part_size=5 * MIB)
    assert lost.struck == 1
    assert client.objects.get("lake", "main", "again") == source.read_bytes()


def test_a_failed_completion_keeps_the_parts(client):
    upload = client.staging.create_multipart_upload("lake", "main", "kept", parts=1)
    get(upload.presigned_urls[0], method="PUT", data=b"part")
    place = {"physical_address": upload.physical_address}
    wrong = [UploadPart(part_number=1, etag="0" * 32)]
    right = [UploadPart(part_number=1, etag=hashlib.md5(b"part").hexdigest())]
    with pytest.raises(errors.BadRequest, match="does not match"):
        client.staging.complete_multipart_upload("lake", "main", upload.upload_id, "kept", parts=wrong, **place)
    with pytest.raises(errors.NotFound):
        client.objects.stat("lake", "main", "kept")
    stats = client.staging.complete_multipart_upload("lake", "main", upload.upload_id, "kept", parts=right, **place)
    assert (stats.size_bytes, client.objects.get("lake", "main", "kept")) == (4, b"part")
    with pytest.raises(errors.NotFound):
        client.staging.complete_multipart_upload("lake", "main", upload.upload_id, "kept", parts=right, **place)


def test_an_aborted_upload_is_gone(client):
    upload = client.staging.create_multipart_upload("lake", "main", "aborted", parts=1)
    place = {"physical_address": upload.physical_address}
    client.staging.abort_multipart_upload("lake", "main", upload.upload_id, "aborted", **place)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(upload.presigned_urls[0], method="PUT", data=b"late")


def test_an_address_permits_only_what_it_says(client, monkeypatch):
    client.objects.upload("lake", "main", "a", b"hello")
    url = client.objects.stat("lake", "main", "a", presign=True).physical_address
    assert get(url, Range="bytes=1-2") == (206, b"el")
    place = client.staging.get_physical_address("lake", "main", "b", presign=True)
    spoiled = url[:-1] + ("0" if url[-1] != "0" else "1")
    for changed, method in (
        (url, "PUT"),
        (place.presigned_url, "GET"),
        (spoiled, "GET"),
        (url.rpartition(".")[0], "GET"),
        (f"{url.rpartition('/')[0]}/", "GET"),
    ):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(changed, method=method, data=b"x" if method == "PUT" else None)
    moment = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: moment)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get(url)


def test_a_read_is_redirected_to_the_store(client, server):
    client.objects.upload("lake", "main", "redirected", b"hello")
    assert client.objects.get("lake", "main", "redirected", presign=True) == b"hello"
    listed = list(client.objects.list("lake", "main", prefix="redirected", presign=True))
    assert get(listed[0].physical_address) == (200, b"hello")
    assert server.faults.calls["presigned:read"] == 2


def test_without_the_option_there_are_none(lakefs, lakefs_repository):
    lakefs.client.objects.upload(lakefs_repository, "main", "a", b"hello")
    with pytest.raises(errors.NotSupported, match="presigned"):
        lakefs.client.objects.stat(lakefs_repository, "main", "a", presign=True)
    with pytest.raises(errors.NotSupported):
        lakefs.client.staging.create_multipart_upload(lakefs_repository, "main", "a")
