"""Large bodies, which threads read from the socket, and objects in parts, whose bytes are not copied."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lakefs_ops import LakeFSClient, errors
from lakefs_ops.api.staging import UploadPart
from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, LocalLakeFS
from lakefs_ops.local.app import WORKERS
from lakefs_ops.local.gateway.bodies import Buffer, Chunked
from lakefs_ops.local.gateway.errors import S3Error
from lakefs_ops.local.store.lake import Lake
from lakefs_ops.local.uploads import LARGE

MIB = 1 << 20
CONTENT = random.Random(1).randbytes(4 * MIB)


@pytest.fixture
def s3(lakefs, s3_client):
    client = s3_client.S3Client(lakefs.endpoint, lakefs.access_key_id, lakefs.secret_access_key)
    yield client
    client.close()


def begin(s3, path):
    answer = s3.call("POST", path, query=[("uploads", None)])
    assert answer.status == 200
    return ET.fromstring(answer.body).findtext("UploadId")


def put_part(s3, path, upload, number, body):
    answer = s3.call("PUT", path, query=[("partNumber", str(number)), ("uploadId", upload)], body=body)
    assert answer.status == 200
    return answer.headers["etag"]


def complete(s3, path, upload, tags):
    parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in tags.items())
    return s3.call("POST", path, query=[("uploadId", upload)], body=f"<C>{parts}</C>".encode())


def put_in_parts(s3, path, parts):
    """Upload an object in parts, given by number."""
    upload = begin(s3, path)
    tags = {number: put_part(s3, path, upload, number, body) for number, body in parts.items()}
    answer = complete(s3, path, upload, tags)
    assert answer.status == 200, answer


def raw_connection(lakefs):
    place = urlsplit(lakefs.endpoint)
    return socket.create_connection((place.hostname, place.port), timeout=30)


def raw_request(request):
    """Return a signed request as it is on the wire."""
    headers = {**request.headers, "Content-Length": str(len(request.body))}
    lines = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + request.body


def answers(connection, count):
    """Return the statuses of answers without a body, or with a short one."""
    received = b""
    while len(found := re.findall(rb"HTTP/1\.1 (\d+)", received)) < count or not received.endswith(b"\r\n\r\n"):
        data = connection.recv(65536)
        assert data, received
        received += data
    return [int(status) for status in found]


# large bodies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["v4", "v4-unsigned", "v4-chunked", "v4-trailer", "v2"])
@pytest.mark.parametrize("size", [LARGE - 1, LARGE, LARGE + 1, 3 * MIB + 17])
def test_a_large_body_of_each_kind(lakefs_repository, s3, s3_client, how, size):
    path = f"/{lakefs_repository}/main/a"
    for body in (CONTENT[:size], CONTENT[-size:]):
        assert s3.call("PUT", path, s3_client.Signing(how), body=body).status == 200
        assert s3.call("GET", path).body == body


@pytest.mark.parametrize("kind", ["application/octet-stream", "multipart/form-data; boundary=B"])
def test_a_large_body_of_the_api(lakefs, lakefs_repository, kind):
    import requests

    body = CONTENT
    if "form" in kind:
        body = b'--B\r\nContent-Disposition: form-data; name="content"\r\n\r\n' + CONTENT + b"\r\n--B--\r\n"
    url = f"{lakefs.endpoint}/api/v1/repositories/{lakefs_repository}/branches/main/objects?path=a"
    with requests.Session() as session:
        session.auth = (lakefs.access_key_id, lakefs.secret_access_key)
        for _ in range(2):
            answer = session.post(url, data=body, headers={"Content-Type": kind})
            assert (answer.status_code, answer.json()["size_bytes"]) == (201, len(CONTENT))
    assert lakefs.client.objects.get(lakefs_repository, "main", "a") == CONTENT


def test_a_large_body_that_is_not_the_signed_one(lakefs_repository, s3, s3_client):
    """The rest of the body is read after the problem, so the connection can be used again."""
    path = f"/{lakefs_repository}/main/a"
    for signing in (
        s3_client.Signing("v4", payload_hash="0" * 64),
        s3_client.Signing("v4-chunked", spoiled=2),
        s3_client.Signing("v4-chunked", spoiled=60),
        s3_client.Signing("v4-trailer", trailer="x-amz-checksum-crc32:AAAAAA=="),
    ):
        assert 400 <= s3.call("PUT", path, signing, body=CONTENT).status < 500
        assert s3.call("HEAD", path).status == 404
    assert s3.call("PUT", path, body=CONTENT).status == 200


def test_a_request_follows_a_large_body_at_once(lakefs, lakefs_repository, s3):
    path = f"/{lakefs_repository}/main/a"
    requests = [s3.signed("PUT", path, body=CONTENT), s3.signed("HEAD", path), s3.signed("HEAD", f"{path}/b")]
    data = b"".join(map(raw_request, requests))
    for first in (len(data), len(CONTENT)):
        with raw_connection(lakefs) as connection:
            connection.sendall(data[:first])
            time.sleep(0.1)  # no thread waits for the rest
            connection.sendall(data[first:])
            assert answers(connection, 3) == [200, 200, 404]


def test_a_large_body_that_arrives_slowly(lakefs, lakefs_repository, s3):
    """Threads do not wait for it: the pauses are longer than they wait."""
    path = f"/{lakefs_repository}/main/a"
    data = raw_request(s3.signed("PUT", path, body=CONTENT[: LARGE + 5]))
    with raw_connection(lakefs) as connection:
        for start in range(0, len(data), LARGE // 10):
            connection.sendall(data[start : start + LARGE // 10])
            time.sleep(0.03)
        assert answers(connection, 1) == [200]
    assert s3.call("GET", path).body == CONTENT[: LARGE + 5]


def test_a_large_body_without_httptools(tmp_path, s3_client):
    code = "import runpy, sys; sys.modules['httptools'] = None; runpy.run_module('lakefs_ops.local', alter_sys=True)"
    command = [sys.executable, "-c", code, "--data", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        s3 = s3_client.S3Client(server.stdout.readline().strip(), ACCESS_KEY_ID, SECRET_ACCESS_KEY)
        try:
            with LakeFSClient(
                f"http://{s3.host}", access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY
            ) as client:
                client.repositories.create(name="lake", storage_namespace="local://lake")
            for _ in range(2):
                assert s3.call("PUT", "/lake/main/a", body=CONTENT).status == 200
                assert s3.call("GET", "/lake/main/a").body == CONTENT
        finally:
            s3.close()
            server.terminate()


def test_bodies_that_stall_do_not_keep_others_from_working(lakefs, lakefs_repository, s3):
    path = f"/{lakefs_repository}/main/"
    requests = [raw_request(s3.signed("PUT", f"{path}{number}", body=CONTENT)) for number in range(2 * WORKERS)]
    stalled = [raw_connection(lakefs) for _ in requests]
    for connection, data in zip(stalled, requests, strict=True):
        connection.sendall(data[:MIB])
    put_in_parts(s3, f"{path}other", {1: CONTENT})  # a thread reads it, and a thread completes it
    assert s3.call("GET", f"{path}other").body == CONTENT
    for connection, data in zip(stalled, requests, strict=True):
        connection.sendall(data[MIB:])
        assert answers(connection, 1) == [200]
        connection.close()


def test_a_large_body_that_ends_too_early(tmp_path, s3_client):
    with LocalLakeFS(tmp_path) as server:
        with LakeFSClient(
            server.endpoint, access_key_id=server.access_key_id, secret_access_key=server.secret_access_key
        ) as client:
            client.repositories.create(name="lake", storage_namespace="local://lake")
        s3 = s3_client.S3Client(server.endpoint, server.access_key_id, server.secret_access_key)
        data = raw_request(s3.signed("PUT", "/lake/main/a", body=CONTENT))
        for length in (len(data) - 1, 2 * MIB, 1000):
            with raw_connection(server) as connection:
                connection.sendall(data[:length])
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65536)
            assert s3.call("HEAD", "/lake/main/a").status == 404
        s3.close()
    assert not list((tmp_path / "objects" / "incoming").iterdir())


@pytest.mark.parametrize("parts", [1, 3])
def test_large_objects_are_read_at_any_pace(lakefs, lakefs_repository, s3, parts):
    """Readers that stall do not keep others from reading, and a request can follow a large object at once."""
    path, whole = f"/{lakefs_repository}/main/a", CONTENT * 3
    size = len(whole) // parts
    put_in_parts(s3, path, {number + 1: whole[number * size :][:size] for number in range(parts)})
    requests = raw_request(s3.signed("GET", path)) + raw_request(s3.signed("HEAD", path))
    with ExitStack() as stack:
        stalled = []
        for _ in range(2 * WORKERS):
            connection = stack.enter_context(raw_connection(lakefs))
            connection.sendall(requests)
            stalled.append(stack.enter_context(connection.makefile("rb")))
            assert stalled[-1].readline().startswith(b"HTTP/1.1 200")
        assert s3.call("GET", path).body == whole
        for received in stalled:
            while received.readline().strip():
                pass
            assert received.read(len(whole)) == whole
            assert received.readline().startswith(b"HTTP/1.1 200")


def test_readers_of_large_objects_that_go_away(lakefs, lakefs_repository, s3, caplog):
    path = f"/{lakefs_repository}/main/a"
    assert s3.call("PUT", path, body=CONTENT * 3).status == 200
    for _ in range(2 * WORKERS):
        with raw_connection(lakefs) as connection:
            connection.sendall(raw_request(s3.signed("GET", path)))
            assert connection.recv(1000)
    assert s3.call("GET", path).body == CONTENT * 3
    assert not caplog.records


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_the_memory_for_large_bodies_is_constant(process, s3_client):
    process.start()
    with process.client() as client:
        client.repositories.create(name="lake", storage_namespace="local://lake")
        keys = (client.config.access_key_id, client.config.secret_access_key)
    body = CONTENT * 8

    def peak():
        text = Path(f"/proc/{process.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) << 10

    def upload(number):
        s3 = s3_client.S3Client(process.endpoint, *keys)
        path = f"/lake/main/{number}"
        put_in_parts(s3, path, {1: body, 2: body})
        assert s3.call("GET", path, headers={"Range": f"bytes={len(body) - 5}-{len(body) + 4}"}).status == 206
        s3.close()

    before = peak()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(upload, range(6)))  # 384 MiB
    assert peak() - before < 64 * MIB


def test_a_line_between_chunks_is_limited():
    for text in (b"1" * 5000, b"5;chunk-signature=" + b"0" * 5000 + b"\r\n"):
        for step in (1, 700, len(text)):
            body = Chunked(Buffer(10), None, None)
            with pytest.raises(S3Error):
                for start in range(0, len(text), step):
                    body.feed(memoryview(text)[start : start + step])


# files --------------------------------------------------------------------------------------------------


def test_equal_bytes_do_not_replace_their_file(tmp_path):
    lake = Lake(tmp_path)

    def store(content):
        incoming = lake.blobs.write()
        incoming.write(content)
        path = lake.blobs.path(incoming.checksum, incoming.size)
        incoming.keep()
        incoming.discard()
        return path

    path = store(b"bytes")
    first = path.stat().st_ino
    assert store(b"bytes").stat().st_ino == first
    path.write_bytes(b"by")  # damaged by someone else
    assert store(b"bytes").read_bytes() == b"bytes"
    assert not list((tmp_path / "objects" / "incoming").iterdir())
    lake.close()


# objects in parts ---------------------------------------------------------------------------------------

PARTS = {1: b"first", 7: b"", 9: b"the second one", 10: b"3", 9999: b"last"}
WHOLE = b"".join(PARTS.values())


def test_ranges_over_the_borders_of_parts(lakefs, lakefs_repository, s3):
    path = f"/{lakefs_repository}/main/a"
    put_in_parts(s3, path, PARTS)
    get = lakefs.client.objects.get
    assert s3.call("GET", path).body == get(lakefs_repository, "main", "a") == WHOLE
    for first in range(len(WHOLE)):
        for last in range(first, len(WHOLE)):
            answer = s3.call("GET", path, headers={"Range": f"bytes={first}-{last}"})
            assert (answer.status, answer.body) == (206, WHOLE[first : last + 1]), (first, last)
        assert s3.call("GET", path, headers={"Range": f"bytes=-{first + 1}"}).body == WHOLE[-first - 1 :]
    assert s3.call("GET", path, headers={"Range": f"bytes={len(WHOLE)}-"}).status == 416


def test_ranges_of_a_large_object_in_parts(lakefs_repository, s3):
    path = f"/{lakefs_repository}/main/a"
    whole = CONTENT + CONTENT[:100] + CONTENT[::-1]
    put_in_parts(s3, path, {1: CONTENT, 2: CONTENT[:100], 3: CONTENT[::-1]})
    assert s3.call("GET", path).body == whole
    for first, last in (
        (0, len(whole) - 1),
        (4 * MIB - 1, 4 * MIB + 100),
        (3 * MIB, 6 * MIB),
        (4 * MIB + 50, 4 * MIB + 60),
    ):
        assert s3.call("GET", path, headers={"Range": f"bytes={first}-{last}"}).body == whole[first : last + 1]


def test_an_object_of_empty_parts(lakefs, lakefs_repository, s3):
    path = f"/{lakefs_repository}/main/a"
    put_in_parts(s3, path, {1: b"", 2: b""})
    assert s3.call("GET", path).body == lakefs.client.objects.get(lakefs_repository, "main", "a") == b""


def test_an_object_in_parts_is_committed_and_copied(lakefs, lakefs_repository, s3):
    path = f"/{lakefs_repository}/main/a"
    put_in_parts(s3, path, PARTS)
    commit = lakefs.client.commits.create(lakefs_repository, "main", message="parts")
    assert s3.call("PUT", f"{path}-copy", headers={"x-amz-copy-source": path}).status == 200
    assert s3.call("DELETE", path).status == 204
    put_in_parts(s3, path, {1: b"another"})
    assert s3.call("GET", f"/{lakefs_repository}/{commit.id}/a").body == WHOLE
    assert s3.call("GET", f"{path}-copy").body == WHOLE
    assert s3.call("GET", path).body == b"another"
    upload = begin(s3, f"{path}-part")
    query = [("partNumber", "1"), ("uploadId", upload)]
    headers = {"x-amz-copy-source": f"{path}-copy", "x-amz-copy-source-range": "bytes=3-8"}
    tag = ET.fromstring(s3.call("PUT", f"{path}-part", query=query, headers=headers).body).findtext(".//{*}ETag")
    assert complete(s3, f"{path}-part", upload, {1: tag}).status == 200
    assert s3.call("GET", f"{path}-part").body == WHOLE[3:9]


def test_only_the_parts_of_the_list_are_kept(tmp_path):
    lake = Lake(tmp_path)
    upload = lake.multipart.create(1, "main", "a", metadata={}, content_type="")
    for number in (1, 2, 3):
        store_part(lake, upload, number, b"%d" % number)
    target = tmp_path / "namespaces" / "lake" / "a,"
    parts = lake.multipart.listed(upload, [(n, hashlib.md5(b"%d" % n).hexdigest()) for n in (1, 3)])
    lake.multipart.complete(upload, parts, target, lambda checksum, size: None)
    assert [file.read_bytes() for file in sorted(target.iterdir())] == [b"1", b"3"]
    assert not list((tmp_path / "multipart").iterdir())
    lake.close()


def store_part(lake, upload, number, content):
    incoming = lake.blobs.write()
    incoming.write(content)
    assert lake.multipart.put(upload, number, incoming)
    incoming.discard()


def test_a_completion_that_cannot_be_staged_changes_nothing(tmp_path):
    lake = Lake(tmp_path)
    upload = lake.multipart.create(1, "main", "a", metadata={}, content_type="")
    store_part(lake, upload, 1, b"part")
    target = tmp_path / "namespaces" / "lake" / "a,"

    def refuse(checksum, size):
        assert list(target.iterdir())
        raise PermissionError("protected")

    with pytest.raises(PermissionError):
        lake.multipart.complete(upload, lake.multipart.parts(upload), target, refuse)
    assert not target.exists()
    assert len(list((tmp_path / "multipart").iterdir())) == 1
    target.mkdir(parents=True)
    with pytest.raises(FileExistsError):
        lake.multipart.complete(upload, lake.multipart.parts(upload), target, refuse)
    target.rmdir()
    assert lake.multipart.find(1, upload.id) == upload
    staged = []
    lake.multipart.complete(upload, lake.multipart.parts(upload), target, lambda *of: staged.append(of))
    tag = hashlib.md5(hashlib.md5(b"part").digest()).hexdigest()
    assert staged == [(tag, 4)]
    assert [file.read_bytes() for file in target.iterdir()] == [b"part"]
    lake.close()


def test_a_file_system_without_hard_links(monkeypatch, lakefs_repository, s3):
    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    put_in_parts(s3, f"/{lakefs_repository}/main/a", PARTS)
    assert s3.call("GET", f"/{lakefs_repository}/main/a").body == WHOLE


def test_a_physical_address_is_completed_once():
    with (
        LocalLakeFS(presign=True) as server,
        LakeFSClient(
            server.endpoint, access_key_id=server.access_key_id, secret_access_key=server.secret_access_key
        ) as client,
    ):
        client.repositories.create(name="lake", storage_namespace="local://lake")
        import requests

        uploads = [client.staging.create_multipart_upload("lake", "main", "a", parts=1) for _ in range(2)]
        place = {"physical_address": uploads[0].physical_address}
        for upload, body in zip(uploads, (b"one", b"two"), strict=True):
            assert requests.put(upload.presigned_urls[0], data=body).status_code == 200
        parts = [[UploadPart(part_number=1, etag=hashlib.md5(body).hexdigest())] for body in (b"one", b"two")]
        client.staging.complete_multipart_upload("lake", "main", uploads[0].upload_id, "a", parts=parts[0], **place)
        with pytest.raises(errors.BadRequest, match="another object is at the physical address"):
            client.staging.complete_multipart_upload("lake", "main", uploads[1].upload_id, "a", parts=parts[1], **place)
        assert client.objects.get("lake", "main", "a") == b"one"


def test_a_folder_is_not_an_object(tmp_path):
    """Only a folder that the server has written is one: not another that a client can name."""
    import requests

    folder = tmp_path / "folder,"
    folder.mkdir()
    (folder / "0000000000000000").write_bytes(b"not an object")
    with LocalLakeFS(allow_import=[tmp_path]) as server, requests.Session() as session:
        session.auth = (server.access_key_id, server.secret_access_key)
        api = f"{server.endpoint}/api/v1/repositories"
        session.post(api, json={"name": "lake", "storage_namespace": "local://lake"})
        for address, status in ((folder, 410), (folder / "0000000000000000", 200)):
            value = {"physical_address": f"local://{address}", "checksum": "a" * 32, "size_bytes": 13}
            assert session.put(f"{api}/lake/branches/main/objects?path=a", json=value).status_code == 201
            assert session.get(f"{api}/lake/refs/main/objects?path=a").status_code == status


def test_objects_in_parts_survive_kills(process, s3_client):
    """What was answered is there, whole; what was not, is there whole or not at all."""
    process.start()
    with process.client() as client:
        client.repositories.create(name="lake", storage_namespace="local://lake")
        keys = (client.config.access_key_id, client.config.secret_access_key)
    done: dict[str, bytes] = {}
    tried: dict[str, bytes] = {}

    def work(worker, round):
        s3 = s3_client.S3Client(process.endpoint, *keys)
        for number in range(10_000):
            path = f"/lake/main/{round}/{worker}/{number}"
            parts = {n: f"{path} {n} ".encode() * (n + number % 50) for n in (1, 2, 3)}
            tried[path] = b"".join(parts.values())
            try:
                put_in_parts(s3, path, parts)
            except (OSError, HTTPException):
                return
            done[path] = tried[path]

    chance = random.Random()
    for round in range(4):
        threads = [threading.Thread(target=work, args=(worker, round)) for worker in range(3)]
        for thread in threads:
            thread.start()
        before, until = len(done), time.monotonic() + 60
        while len(done) < before + 5 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(chance.random() / 5)
        process.kill()
        for thread in threads:
            thread.join()
        (process.data / "multipart" / "half").mkdir()
        (process.data / "multipart" / "half" / "0").write_bytes(b"of a completion that was killed")
        process.start()
        assert not (process.data / "multipart" / "half").exists()
    assert len(done) >= 20
    s3 = s3_client.S3Client(process.endpoint, *keys)
    for path, content in tried.items():
        answer = s3.call("GET", path)
        assert (answer.status, answer.body) == (200, content) or (answer.status == 404 and path not in done), path
    s3.close()
