"""The S3 gateway of the embedded lakeFS: what the recordings of a real one do not show."""

from __future__ import annotations

import hashlib
import threading
import time
import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import pytest

from lakefs_ops.api.repositories import BranchProtectionRule
from lakefs_ops.local.faults import Fault
from lakefs_ops.local.gateway import metadata, xml
from lakefs_ops.local.gateway.errors import S3Error

PART = b"part of an object"
ETAG = hashlib.md5(PART).hexdigest()


@pytest.fixture
def s3(lakefs, s3_client):
    client = s3_client.S3Client(lakefs.endpoint, lakefs.access_key_id, lakefs.secret_access_key)
    yield client
    client.close()


def code(answer):
    return ET.fromstring(answer.body).findtext("Code")


def listed(*parts):
    return (
        b"<C>"
        + b"".join(
            b"<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>" % (number, tag.encode()) for number, tag in parts
        )
        + b"</C>"
    )


def begin(s3, path):
    answer = s3.call("POST", path, query=[("uploads", None)])
    assert answer.status == 200
    upload = ET.fromstring(answer.body).findtext("UploadId")
    assert s3.call("PUT", path, query=[("partNumber", "1"), ("uploadId", upload)], body=PART).status == 200
    return upload


def complete(s3, path, upload, body=None, **request):
    return s3.call("POST", path, query=[("uploadId", upload)], body=body or listed((1, ETAG)), **request)


# multipart uploads --------------------------------------------------------------------------------------


def test_a_completion_that_fails_keeps_its_upload(lakefs, lakefs_repository, s3):
    path = f"/{lakefs_repository}/main/a"
    upload = begin(s3, path)
    for body, expected in (
        (b"<C/>", "MalformedXML"),
        (listed((1, "0" * 32)), "InvalidPart"),
        (listed((2, ETAG)), "InvalidPart"),
        (listed((1, ETAG), (1, ETAG)), "InvalidPartOrder"),
        (b"<!DOCTYPE C>" + listed((1, ETAG)), "MalformedXML"),
    ):
        assert code(complete(s3, path, upload, body)) == expected
    lakefs.client.repositories.set_branch_protection_rules(lakefs_repository, [BranchProtectionRule(pattern="main")])
    assert code(complete(s3, path, upload)) == "ErrWriteToProtectedBranch"
    assert s3.call("HEAD", path).status == 404
    lakefs.client.repositories.set_branch_protection_rules(lakefs_repository, [])
    assert complete(s3, path, upload).status == 200
    assert s3.call("GET", path).body == PART
    assert code(complete(s3, path, upload)) == "NoSuchUpload"
    assert s3.call("GET", path).body == PART


def test_a_completion_after_the_branch_was_deleted(lakefs, lakefs_repository, s3):
    lakefs.client.branches.create(lakefs_repository, name="side", source="main")
    path = f"/{lakefs_repository}/side/a"
    upload = begin(s3, path)
    lakefs.client.branches.delete(lakefs_repository, "side")
    assert code(complete(s3, path, upload)) == "NoSuchBucket"
    lakefs.client.branches.create(lakefs_repository, name="side", source="main")
    assert complete(s3, path, upload).status == 200
    assert s3.call("GET", path).body == PART


def test_two_completions_at_once_make_one_object(lakefs, lakefs_repository, s3_client):
    keys = (lakefs.endpoint, lakefs.access_key_id, lakefs.secret_access_key)
    clients = [s3_client.S3Client(*keys) for _ in range(6)]
    path = f"/{lakefs_repository}/main/a"
    upload = begin(clients[0], path)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda client=client: statuses.append(complete(client, path, upload).status))
        for client in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, *[404] * 5]
    assert clients[0].call("GET", path).body == PART
    for client in clients:
        client.close()


def test_uploads_survive_a_kill(process, s3_client):
    process.start()
    with process.client() as client:
        client.repositories.create(name="lake", storage_namespace="local://lake")
        keys = (client.config.access_key_id, client.config.secret_access_key)
    s3 = s3_client.S3Client(process.endpoint, *keys)
    upload = begin(s3, "/lake/main/a")
    s3.call("PUT", "/lake/main/a", query=[("partNumber", "2"), ("uploadId", upload)], body=b"lost")
    s3.call("PUT", "/lake/main/a", query=[("partNumber", "2"), ("uploadId", upload)], body=b"kept")
    s3.close()
    process.kill()
    left_over = process.data / "multipart" / "left over"
    left_over.write_bytes(b"of a part that was not recorded")
    process.start()
    s3 = s3_client.S3Client(process.endpoint, *keys)
    assert not left_over.exists()
    body = listed((1, ETAG), (2, hashlib.md5(b"kept").hexdigest()))
    assert complete(s3, "/lake/main/a", upload, body).status == 200
    assert s3.call("GET", "/lake/main/a").body == PART + b"kept"
    assert not list((process.data / "multipart").iterdir())
    s3.close()


def test_objects_in_parts_do_not_share_files_with_others(lakefs, lakefs_repository, s3):
    """The checksum of an object of one part of 16 bytes is also the MD5 of another text of 16 bytes."""
    part = b"0123456789abcdef"
    path = f"/{lakefs_repository}/main/a"
    upload = s3.call("POST", path, query=[("uploads", None)])
    upload = ET.fromstring(upload.body).findtext("UploadId")
    s3.call("PUT", path, query=[("partNumber", "1"), ("uploadId", upload)], body=part)
    assert complete(s3, path, upload, listed((1, hashlib.md5(part).hexdigest()))).status == 200
    twin = s3.call("PUT", f"/{lakefs_repository}/main/b", body=hashlib.md5(part).digest())
    assert twin.headers["etag"] == s3.call("HEAD", path).headers["etag"]
    assert s3.call("GET", path).body == part
    assert lakefs.client.objects.get(lakefs_repository, "main", "a") == part
    s3.call("PUT", f"/{lakefs_repository}/main/c", headers={"x-amz-copy-source": path})
    assert s3.call("GET", f"/{lakefs_repository}/main/c").body == part


def test_parts_are_listed(lakefs_repository, s3):
    path = f"/{lakefs_repository}/main/a"
    upload = begin(s3, path)
    s3.call("PUT", path, query=[("partNumber", "7"), ("uploadId", upload)], body=b"7")
    answer = s3.call("GET", path, query=[("uploadId", upload), ("max-parts", "1")])
    root = ET.fromstring(answer.body)
    assert [root.findtext(name) for name in ("IsTruncated", "NextPartNumberMarker", "Part/Size")] == ["true", "1", "17"]
    answer = s3.call("GET", path, query=[("uploadId", upload), ("part-number-marker", "1")])
    assert ET.fromstring(answer.body).findtext("Part/PartNumber") == "7"


# faults -------------------------------------------------------------------------------------------------


def test_faults_of_s3_operations(lakefs, lakefs_repository, s3):
    path = f"/{lakefs_repository}/main/a"
    lakefs.faults.add(Fault("s3:PutObject", status=503, message="slow down", where={"ref": "main", "path": "a"}))
    lost = lakefs.faults.add(Fault("s3:PutObject", when="after", action="reset", nth=2))
    answer = s3.call("PUT", path, body=b"1")
    assert (answer.status, ET.fromstring(answer.body).findtext("Message")) == (503, "slow down")
    assert s3.call("HEAD", path).status == 404
    with pytest.raises(OSError, match="reset"):
        s3.call("PUT", path, body=b"1")
    assert lost.struck == 1
    assert s3.call("GET", path).body == b"1"
    assert lakefs.faults.calls["s3:GetObject"] == 1


def test_a_fault_cuts_a_read(lakefs, lakefs_repository, s3):
    path = f"/{lakefs_repository}/main/a"
    s3.call("PUT", path, body=b"x" * 100_000)
    lakefs.faults.add(Fault("s3:GetObject", when="after", action="truncate"))
    with pytest.raises(Exception, match="IncompleteRead"):
        s3.call("GET", path)
    assert len(s3.call("GET", path).body) == 100_000


# signatures ---------------------------------------------------------------------------------------------


def test_a_presigned_link_lives_as_long_as_it_says(lakefs_repository, s3, s3_client):
    """A real lakeFS ends it after fifteen minutes."""
    path = f"/{lakefs_repository}/main/a"
    s3.call("PUT", path, body=b"1")
    signing = s3_client.Signing
    assert s3.call("GET", path, signing("v4-query", age=1200, expires=3600)).status == 200
    assert code(s3.call("GET", path, signing("v4-query", age=4000, expires=3600))) == "RequestTimeTooSkewed"


def test_an_access_key_may_be_long(s3_client):
    from lakefs_ops.local import LocalLakeFS

    with LocalLakeFS(access_key_id="a/b" * 20, secret_access_key="secret") as server:
        s3 = s3_client.S3Client(server.endpoint, server.access_key_id, server.secret_access_key)
        assert s3.call("GET", "/").status == 200
        assert s3.call("GET", "/", s3_client.Signing("v4-query")).status == 200
        s3.close()


def test_credentials_of_the_api_are_taken_at_the_domain(lakefs, lakefs_repository, s3):
    lakefs.client.objects.upload(lakefs_repository, "main", "a", b"1")
    import base64

    pair = base64.b64encode(f"{lakefs.access_key_id}:{lakefs.secret_access_key}".encode()).decode()
    headers = {"Host": f"{lakefs_repository}.s3.local.lakefs.io", "Authorization": f"Basic {pair}"}
    unsigned = type(s3.signed("GET", "/"))("GET", "/main/a", "", headers, b"")
    assert s3.send(unsigned).body == b"1"


def test_a_refused_body_does_not_spoil_the_connection(lakefs, lakefs_repository):
    """A client that waits for 100 Continue sends no body after a refusal."""
    import boto3
    import botocore.config

    client = boto3.client(
        "s3", endpoint_url=lakefs.endpoint, aws_access_key_id=lakefs.access_key_id, region_name="us-east-1",
        aws_secret_access_key=lakefs.secret_access_key,
        config=botocore.config.Config(s3={"addressing_style": "path"}, max_pool_connections=1),
    )  # fmt: skip
    for _ in range(3):
        with pytest.raises(client.exceptions.ClientError, match="NoSuchBucket"):
            client.put_object(Bucket=lakefs_repository, Key="none/a", Body=b"x" * 1000)
        client.put_object(Bucket=lakefs_repository, Key="main/a", Body=b"x" * 1000)
    client.close()


# XML and metadata ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"", b"text", b"<a>", b"<a></b>", b"<a>" * 100 + b"</a>" * 100, b"<a b='1' b='2'/>", b"<a>&nope;</a>",
        b"\xff<a/>", b'<!DOCTYPE a [<!ENTITY e "e">]><a>&e;</a>', b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>\0</a>",
    ],
)  # fmt: skip
def test_xml_that_is_refused(body):
    with pytest.raises(xml.Malformed):
        xml.parse(body)


def test_xml_is_read_and_written():
    root = xml.parse(
        b'<?xml version="1.0"?><a xmlns="urn:x"><b>1</b><c><b>2</b></c><b>x&#233;<!-- -->&lt;</b></a> junk'
    )
    assert (root.name, root.find("b"), [child.text for child in root.all("b")]) == ("a", "xé<", ["1", "xé<"])
    text = "a&b<c>\"'\t\n\r\0\ufffe\U0001f600"
    written = xml.document(("r", [("t", text), ("n", 1), ("y", True)]))
    assert ET.fromstring(written).findtext("t") == text.replace("\0", "\ufffd").replace("\ufffe", "\ufffd")
    assert b"<n>1</n><y>true</y>" in written


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("=?utf-8?q?a_=C3=A9?=", "a é"), ("=?UTF-8?B?w6k=?= =?utf-8?q?x?= y", "éx y"),
        ("=?utf-8?b?!?=", "=?utf-8?b?!?="), ("Ã©".encode("latin-1").decode("latin-1"), "é"), ("=?us-ascii?q?a?=",
        "a"), ("=?", "=?"), ("", ""),
    ],
)  # fmt: skip
def test_metadata_is_decoded(sent, stored):
    assert metadata.read({"x-amz-meta-k": sent}) == {"X-Amz-Meta-k": stored}


@pytest.mark.parametrize("sent", ["=?koi8-r?q?a?=", "=?utf-8?q?=FF?=", "\xff"])
def test_metadata_that_is_refused(sent):
    with pytest.raises(S3Error):
        metadata.read({"x-amz-meta-k": sent})


def test_long_metadata_is_encoded_in_words():
    value = metadata.headers({"X-Amz-Meta-k": "é " * 40})["X-Amz-Meta-k"]
    assert all(len(word) <= 75 for word in value.split(" "))
    assert metadata.read({"x-amz-meta-k": value}) == {"X-Amz-Meta-k": "é " * 40}


def test_moments_outside_of_the_calendar():
    from lakefs_ops.local.gateway.call import timestamp

    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1 << 62)
    now = int(time.time())
    assert datetime.fromisoformat(timestamp(now)) == datetime.fromtimestamp(now, UTC)
