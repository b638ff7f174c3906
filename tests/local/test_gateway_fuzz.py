"""Requests to the S3 gateway that no client would send: refused, nothing written, and nothing broken after them.

``LAKEFS_OPS_FUZZ=10000`` sends that many instead of 2,500, ``LAKEFS_OPS_SEED`` other ones.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import xml.etree.ElementTree as ET
from random import Random

import pytest

from lakefs_ops import LakeFSClient
from lakefs_ops.api.repositories import BranchProtectionRule
from lakefs_ops.local import LocalLakeFS

REQUESTS = int(os.environ.get("LAKEFS_OPS_FUZZ", "2500"))
SEED = os.environ.get("LAKEFS_OPS_SEED", "1")

BUCKETS = ("lake", "lake", "lake", "frozen", "none", "Bad_Name!", "x" * 300, "", "api", "%2e%2e", "l%61ke")
REFS = ("main", "main", "locked", "v1", "main~1", "main@", "main@x", "nothing", "%00", "x" * 300, "", "%ff", "main%2Fa")
KEYS = (
    "a", "dir/b", "", "/", "//", "..", "../../etc/passwd", "%00", "%0d%0aX:%20y", "%", "%zz", "%ff", "%c3%28",
    "%ed%a0%80",
    "x" * 1025, "y" * 1024, "%F0%9F%98%80", "a%2Fb", "+", "a?b", "<&>", "\u00e9",
)  # fmt: skip
PARAMETERS = (
    ("uploads", ("", None, "1")), ("uploadId", ("", "nonsense", "0" * 32, "UPLOAD", "../x", "\0")), ("delete", (None,
    "")),
    ("partNumber", ("1", "0", "-1", "10001", "9" * 30, "abc", "", "1e3", "\u0663")), ("list-type", ("2", "1", "9", "")),
    ("prefix", ("main/", "main", "/", "//", "nothing/", "main/\0", "main/" + "x" * 2000, "", "main~9/", "main/\ufffe")),
    ("delimiter", ("/", "", "x", "/" * 2000)), ("max-keys", ("0", "1", "-1", "abc", "9" * 30, "1000", "")),
    ("continuation-token", ("main/a", "main/", "other/x", "\0", "x" * 5000)), ("start-after", ("main/a", "/", "")),
    ("marker", ("main/a", "dev/", "/")), ("encoding-type", ("url", "x")), ("versioning", (None,)), ("tagging", (None,)),
    ("acl", (None,)), ("versionId", ("null", "x")), ("max-parts", ("1", "-1", "abc", "9" * 30)),
    ("part-number-marker", ("1", "x", "-5")), ("max-uploads", ("1", "-1", "abc")), ("key-marker", ("a", "")),
    ("X-Amz-Expires", ("60", "-1", "9" * 30)), ("X-Amz-Credential", ("x", "")), ("AWSAccessKeyId", ("x",)),
    ("response-content-type", ("text/html\r\nX: y",)), ("retention", (None,)), ("select", (None,)), ("a;b", ("c",)),
)  # fmt: skip
HEADERS = (
    ("Range", ("bytes=0-0", "bytes=-", "bytes=-0", "bytes=5-1", "bytes=" + "9" * 5000 + "-", "bytes=0-1,3-4", "x", "",
               "bytes=\u0663-", "bytes=-" + "9" * 400, "bytes=" + "1-2," * 2000)),
    ("If-None-Match", ("*", '"x"', "", "x" * 9000)), ("If-Match", ("*", "", '"x"')),
    ("x-amz-copy-source", ("lake/main/keep", "/lake/main/keep", "lake", "", "//", "lake/main/", "none/x/y", "%zz/a/b",
                           "lake/main/" + "x" * 3000, "lake%2Fmain%2Fkeep", "lake/main~9/keep", "lake/main/\ufffd")),
    ("x-amz-copy-source-range", ("bytes=0-1", "bytes=9-1", "x", "bytes=" + "9" * 100 + "-")),
    ("x-amz-metadata-directive", ("REPLACE", "COPY", "x")), ("x-amz-meta-k", ("v", "=?x?q?a?=", "\u00e9", "v" * 3000,
    "")),
    ("x-amz-meta-(odd)", ("v",)), ("Content-Type", ("text/plain", "", "\u00e9", "x" * 5000)), ("Accept", ("*/*",
    "text/xml")),
    ("Content-MD5", ("nonsense",)), ("x-amz-decoded-content-length", ("x", "", "-1", "9" * 40)),
    ("x-amz-trailer", ("x-amz-checksum-crc32", "x-amz-checksum-nope", "")), ("Expect", ("100-continue", "nonsense")),
    ("Host", ("lake.s3.local.lakefs.io", "s3.local.lakefs.io", ".s3.local.lakefs.io", "x:y:z", "[::1", "")),
    ("User-Agent", ("s3RedirectionSupport",)), ("Transfer-Encoding", ("identity",)), ("X-Filler", ("f" * 20_000,)),
)  # fmt: skip
BODIES = (
    b"", b"x", b"\0\xff" * 500, b"x" * 100_000, b"<Delete><Object><Key>main/none</Key></Object></Delete>", b"<Delete/>",
    b"<Delete><Object><Key>%s</Key></Object></Delete>" % (b"main/" + b"k" * 5000), b"<a>" * 5000, b"&" * 1000,
    b"<Delete>" + b"<Object><Key>main/none</Key></Object>" * 1001 + b"</Delete>",
    b"<C><Part><PartNumber>1</PartNumber>",
    b"<C><Part><PartNumber>%s</PartNumber><ETag>x</ETag></Part></C>" % (b"9" * 5000), b"<C><Part/></C>",
    b'<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]><Delete>&c;</Delete>',
    b'<!DOCTYPE d [<!ENTITY f SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&f;</Key></Object></Delete>',
    b"<Delete><Quiet>maybe</Quiet><Object><Key>main/none</Key></Object></Delete>", b"\xef\xbb\xbf<Delete/>",
    b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"-1\r\n",
    b"5;chunk-signature=" + b"0" * 64 + b"\r\nhello\r\n",
    b"\r\n" * 1000, b"5" * 9000, b"1\r\nx", b"0\r\nx-amz-checksum-crc32:AAAA\r\nx-amz-checksum-crc32:AAAA\r\n\r\n",
)  # fmt: skip
WAYS = ("v4", "v4-unsigned", "v4-chunked", "v4-trailer", "v4-query", "v2")
AUTHORIZATIONS = (
    "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 x", "AWS ", "AWS a:b", "AWS \u00e9:\u00e9=", "AWS4" * 4000,
    "AWS4-HMAC-SHA256 Credential=//, SignedHeaders=, Signature=", "AWS AKIAIOSFOLQUICKSTART:" + "A" * 5000,
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFOLQUICKSTART/20200101/us-east-1/s3/aws4_request, SignedHeaders=host;"
    + "x;" * 3000 + "y, Signature=" + "0" * 64,
    "AWS4-HMAC-SHA256 Credential=" + "a/" * 4000 + ", SignedHeaders=host, Signature=" + "0" * 64,
)  # fmt: skip


@pytest.fixture(scope="module")
def server():
    with LocalLakeFS() as running:
        keys = {"access_key_id": running.access_key_id, "secret_access_key": running.secret_access_key}
        with LakeFSClient(running.endpoint, **keys) as client:
            client.repositories.create(name="lake", storage_namespace="local://lake")
            client.objects.upload("lake", "main", "keep", b"keep")
            client.commits.create("lake", "main", message="one")
            client.tags.create("lake", id="v1", ref="main")
            client.branches.create("lake", name="locked", source="main")
            client.repositories.set_branch_protection_rules("lake", [BranchProtectionRule(pattern="locked")])
            client.repositories.create(name="frozen", storage_namespace="local://frozen", read_only=True)
            running.client = client
            yield running


@pytest.fixture
def s3(server, s3_client):
    client = s3_client.S3Client(server.endpoint, server.access_key_id, server.secret_access_key)
    client.module = s3_client
    yield client
    client.close()


def draw(random, s3, upload):
    """Return a request, and whether its signature is good."""
    parts = [random.choice(BUCKETS), random.choice(REFS), random.choice(KEYS)]
    path = "/" + "/".join(parts[: random.choice((1, 2, 3, 3, 3, 3))])
    path = path.replace("?", "%3F").replace("\u00e9", "%C3%A9")
    query = []
    for name, values in random.sample(PARAMETERS, random.choice((0, 0, 1, 1, 2, 3))):
        value = random.choice(values)
        query.append((name, upload if value == "UPLOAD" else value))
    headers = {name: random.choice(values) for name, values in random.sample(HEADERS, random.choice((0, 0, 1, 1, 2)))}
    method = random.choice(("GET", "PUT", "PUT", "POST", "HEAD", "DELETE", "PATCH", "OPTIONS", "LIST"))
    body = random.choice(BODIES) if method in ("PUT", "POST") or random.random() < 0.1 else b""
    signing = s3.module.Signing(random.choice(WAYS), chunk=random.choice((1 << 16, 7, 1000)))
    good = not {"x-amz-decoded-content-length", "x-amz-trailer", "Content-Type", "X-Filler"} & headers.keys()
    match random.randrange(14):
        case 0:
            signing.secret, good = "wrong" * 8, False
        case 1:
            signing.key, good = "AKIAIOSFODNN7NOSUCHK", False
        case 2:
            signing.age, good = random.choice((1000, -1000, 10**6)), False
        case 3:
            signing.payload_hash, good = random.choice(("0" * 64, "nonsense", "", "UNSIGNED", "STREAMING-X")), False
        case 4:
            signing.spoiled, signing.trailer, good = 1, "x-amz-checksum-crc32:AAAAAA==", False
    request = s3.signed(method, path, signing, query=query, headers=headers, body=body)
    match random.randrange(16):
        case 0:
            request.headers["Authorization"], good = random.choice(AUTHORIZATIONS), False
        case 1:
            request.body, good = random.choice(BODIES), False
        case 2:
            request.body, good = request.body[: random.randrange(len(request.body) + 1)], False
        case 3:
            request.query, good = request.query.replace("X-Amz-", random.choice(("X-Amx-", "", "X-Amz-X"))), False
        case 4:
            request.path, good = f"{request.path}x", False
        case 5:
            request.headers["Content-Length"] = random.choice(("-1", "x", "0", "9" * 30, str(len(request.body) + 5)))
            good = False
        case 6:
            request.chunked = random.random() < 0.5
    return request, good


def send(s3, request):
    """Send a request; return the answer, None if the server closed the connection or waits for more."""
    s3._connection.timeout = 0.05 if "Content-Length" in request.headers else 30
    try:
        return s3.send(request)
    except (OSError, http.client.HTTPException, UnicodeError, ValueError):
        s3.close()
        return None


def test_nothing_breaks(server, s3):
    upload = s3.call("POST", "/lake/main/up", query=[("uploads", None)])
    upload = ET.fromstring(upload.body).findtext("UploadId")
    answered, statuses = 0, set()
    for number in range(REQUESTS):
        request, _ = draw(Random(f"{SEED}:{number}"), s3, upload)
        answer = send(s3, request)
        if answer is None:
            continue
        answered += 1
        statuses.add(answer.status)
        about = f"{SEED}:{number} {request}: {answer.status} {answer.body[:500]!r}"
        assert answer.status < 500 or answer.status == 501, about
        assert b"Traceback" not in answer.body, about
        if "xml" in answer.headers.get("content-type", "") and answer.body and answer.status >= 400:
            assert ET.fromstring(answer.body).findtext("Code"), about
    assert answered > REQUESTS * 0.8
    assert statuses > {200, 204, 400, 403, 404, 405, 501}
    assert s3.call("GET", "/lake/v1/keep").body == b"keep"
    assert not list(server.client.branches.diff("lake", "locked"))
    assert [entry.path for entry in server.client.objects.list("frozen", "main")] == []
    directory = server._lake.directory
    assert not list((directory / "objects" / "incoming").iterdir())
    for entry in server.client.objects.list("lake", "main"):
        assert len(server.client.objects.get("lake", "main", entry.path)) == entry.size_bytes


@pytest.mark.parametrize("way", WAYS)
def test_bad_requests_write_nothing(server, s3, way):
    """Every way to sign, spoiled in every way: refused, and no object is there."""
    signing, body = s3.module.Signing, b"hello world" * 10
    path = f"/lake/main/bad/{way}"
    wrong = [
        {"secret": "wrong" * 8}, {"key": "AKIAIOSFODNN7NOSUCHK"}, {"age": 1000}, {"age": -1000}, {"date_age": 86400},
    ]  # fmt: skip
    if way == "v2":
        wrong.remove({"date_age": 86400})
    if way == "v4-query":
        wrong += [{"age": 400}, {"expires": 700_000}, {"expires": -5}]
    if way == "v4-chunked":
        wrong += [{"spoiled": 1, "chunk": 7}, {"spoiled": 3, "chunk": 50}, {"spoiled": 2}]
    if way == "v4-trailer":
        wrong += [
            {"trailer": "x-amz-checksum-crc32:AAAAAA=="},
            {"trailer": "x"},
            {"trailer_name": "x-amz-checksum-x"},
        ]
    for options in wrong:
        answer = s3.call("PUT", path, signing(way, **options), body=body)
        assert 400 <= answer.status < 500, (options, answer)
    changes = [("path", path + "x"), ("method", "DELETE"), ("query", "x=y")]
    if way == "v4":
        changes += [("body", b"other"), ("body", body + b"!"), ("body", b"")]
    if way in ("v4-chunked", "v4-trailer"):
        good = s3.signed("PUT", path, signing(way, chunk=16), body=body).body
        changes += [("body", good[:cut]) for cut in range(0, len(good) - 4, 5)]
        changes += [("body", good.replace(b"hello", b"jello", 1)), ("body", body), ("body", b"0\r\n\r\n")]
        changes += [("body", good.replace(b"\r\n", b"\n", 2)), ("body", b"f" + good), ("body", good + b"x: y\r\n")]
    for name, value in changes:
        request = s3.signed("PUT", path, signing(way, chunk=16), body=body)
        if name == "query" and request.query:
            value = f"{request.query}&{value}"
        if way == "v2" and name == "query":
            continue  # a signature of version 2 covers only some parameters
        setattr(request, name, value)
        answer = s3.send(request)
        assert 400 <= answer.status < 500, (name, value, answer)
    assert not [entry.path for entry in server.client.objects.list("lake", "main", prefix="bad/")]
    assert not list((server._lake.directory / "objects" / "incoming").iterdir())


def test_a_replayed_request_is_refused_when_it_is_old(s3, monkeypatch):
    from lakefs_ops.local.gateway import service

    request = s3.signed("PUT", "/lake/main/replayed", body=b"1")
    assert s3.send(request).status == 200

    class Later(service.datetime):
        @classmethod
        def now(cls, zone=None):
            return service.datetime.fromtimestamp(super().now().timestamp() + 901, zone)

    original = service.datetime
    monkeypatch.setattr(service, "datetime", Later)
    Later.fromtimestamp = original.fromtimestamp
    answer = s3.send(request)
    assert (answer.status, ET.fromstring(answer.body).findtext("Code")) == (403, "RequestTimeTooSkewed")


def test_a_header_may_not_grow_for_ever(server, s3):
    host, port = s3.host.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET /lake HTTP/1.1\r\nHost: x\r\nX-Long: ")
        answer = b""
        try:
            for _ in range(64):
                connection.sendall(b"x" * 65536)
            answer = connection.recv(1000)
        except OSError:
            pass
        assert not answer or answer.startswith(b"HTTP/1.1 431")
    assert s3.call("HEAD", "/lake").status == 200


def peak(process):
    """Return the largest resident size of a process so far, in MiB."""
    with open(f"/proc/{process.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) >> 10


def test_memory_stays_bounded(process, s3_client):
    process.start()
    with process.client() as client:
        client.repositories.create(name="lake", storage_namespace="local://lake")
        keys = (client.config.access_key_id, client.config.secret_access_key)
    s3 = s3_client.S3Client(process.endpoint, *keys)
    assert s3.call("PUT", "/lake/main/a", body=b"x" * 1000).status == 200
    before = peak(process)
    body = os.urandom(1 << 20) * 32
    for way in ("v4-chunked", "v4-trailer"):
        answer = s3.call("PUT", f"/lake/main/{way}", s3_client.Signing(way, chunk=1 << 20), body=body)
        assert answer.headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert s3.call("GET", "/lake/main/v4-trailer").body == body
    assert peak(process) - before < 16
    bomb = b'<!DOCTYPE d [<!ENTITY a "%s">%s]><Delete><Object><Key>&a30;</Key></Object></Delete>' % (
        b"a" * 1000,
        b"".join(
            b'<!ENTITY a%d "&a%s;&a%s;">' % (n, b"%d" % (n - 1) * (n > 1), b"%d" % (n - 1) * (n > 1))
            for n in range(1, 31)
        ),
    )
    for text in (
        bomb,
        b"<Delete>" + b"<Object><Key>main/x</Key></Object>" * 400_000,
        b"<Delete>" + b" " * (16 << 20),
    ):
        answer = s3.call("POST", "/lake", query=[("delete", None)], body=text)
        assert answer.status == 400
    assert peak(process) - before < 32
    s3.close()
