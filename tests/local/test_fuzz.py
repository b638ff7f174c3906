"""Requests that no client would send: not one answer that tells of the inside, and nothing broken behind them.

``LAKEFS_OPS_FUZZ=100000`` sends that many instead of 10,000, ``LAKEFS_OPS_SEED`` other ones.
"""

import base64
import http.client
import json
import os
import re
import socket
from importlib.resources import files
from random import Random

import pytest

from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, LocalLakeFS
from lakefs_ops.local.specification import specification

REQUESTS = int(os.environ.get("LAKEFS_OPS_FUZZ", "10000"))
SEED = os.environ.get("LAKEFS_OPS_SEED", "1")

OPERATIONS = json.loads(files("lakefs_ops.local").joinpath("specification.json").read_text())["operations"]

# Operations that take away what the others work on, or set the server up.
LEFT_OUT = {"deleteUser", "setup", "deleteRepository"}
OPERATIONS = [item for item in OPERATIONS if item["operation"] not in LEFT_OUT]
SELDOM = re.compile("/pmpu|/gc/|/settings/|/branch_protection|/actions/|^/(?!repositories/)")
OFTEN = [item for item in OPERATIONS if not SELDOM.search(item["path"])]

REPOSITORY = "fuzzed"
HERE = f"/repositories/{REPOSITORY}"
NAMES = (
    REPOSITORY, "main", "dev", "v1", "main~1", "main@", "main$", "none", "a", "x y", "..", ".", "%", "%00", "a\0b",
    "-", "é", "\U0001f600", "x" * 300, "x" * 5000, "main^2", "main~99999999999999999999", "main~" + "9" * 5000,
    "main~-1", "^", "@", "$", "~", "'; DROP TABLE branches; --", "\ufffe", "\r\nX: y", "0" * 64, "f" * 64, "+", "a/b",
    "main~\u0663", "\u0660", "1", "-1", "0",
)  # fmt: skip
RAW = ("%", "%zz", "%ff", "%c3%28", "%ed%a0%80", "%25ff", "%2500", "a%2fb", "%252f", "\u00ff", "+", "%0d%0a")
TEXTS = (
    "", "a", "a/", "/", "//", "../../etc/passwd", "\0", "n\0x", "é", "\U0001f600", "\ud800", "\uffff", "x" * 1024,
    "x" * 1025, "x" * 70_000, "\r\n", " ", "true", "null", "NaN", "local://x", "local://..", "local:///etc/passwd",
    "http://[", "file:///etc", "s3://x", "2020-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "0001-01-01T00:00:00+23:59",
    "{}", "[", "*", "[a", "{a,b", "%s%n", "main", "dev", "reset", "object", "common_prefix", "source-wins",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 1000, 1001, 1 << 31, 1 << 62, (1 << 63) - 1, 1 << 63, -(1 << 63), 1 << 64, 10**30, 1.5, 1e18, 1e300,
    -0.0, 1e-300,
)  # fmt: skip
RAW_JSON = (
    b"", b"{", b"[]", b"null", b"true", b'"text"', b"1", b"{}", b"{}{}", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"NaN",
    b"-", b"1e999", b'{"a":' * 3000, b"[" * 200_000, b'{"message":"\\ud800"}', b'{"message":"\xff"}',
    b'{"message":"m","date":' + b"9" * 5000 + b"}", b'{"message":"m","date":1e400}', b'{"message":"m","date":NaN}',
    b'{"message":"m","date":Infinity}', b'{"name":"\\u0000","source":"main"}', b'{"message":"m","message":1}',
    b'{"message":"m","metadata":{"\\ud800":"\\udfff"},"allow_empty":true}', b"{'a':1}", b"{\"a\":1,}", b"\0", b"<xml/>",
    b'{"message":"m","allow_empty":true,"date":9223372036854775807}',
    b'{"message":"m","allow_empty":true,"date":-9223372036854775808}',
    b'{"message":"m","allow_empty":true,"date":1e15}', b'{"message":"m","allow_empty":true,"date":1.0}',
)  # fmt: skip
TYPES = (
    "application/json", "application/json; charset=utf-8", "text/plain", "", "application/json;", "/", "a/b; c", "é/x",
    "multipart/form-data", "multipart/form-data; boundary=B", 'multipart/form-data; boundary="B', "application/xml",
    "multipart/form-data; boundary=" + "b" * 300, "application/x-www-form-urlencoded", "multipart/form-data; boundary=",
    "multipart/form-data; boundary=\xff",
)  # fmt: skip
FORMS = (
    b"", b"--B", b"--B--\r\n", b"--B\r\n\r\n", b'--B\r\nContent-Disposition: form-data; name="content"\r\n\r\nx',
    b'--B\r\nContent-Disposition: form-data; name="content"\r\n\r\nx\r\n--B--\r\n',
    b'--B\r\nContent-Disposition: form-data; name="content"\r\nContent-Type: \xff\xfe\r\n\r\nx\r\n--B--\r\n',
    b'--B\r\nContent-Disposition: form-data; name="content"; filename="\r\n\r\nx\r\n--B--\r\n',
    b"--B\r\nContent-Disposition: form-data; name*=utf-8''content\r\n\r\nx\r\n--B--\r\n",
    b"--B\r\nContent-Disposition: form-data; name*=bad''%ff%fe\r\n\r\nx\r\n--B--\r\n",
    b'--B\r\n: x\r\nContent-Disposition: attachment; name="content"\r\n\r\nx\r\n--B--\r\n', b"x" * 100_000,
    b"--B\r\n" + b"A: b\r\n" * 5000 + b"\r\nx\r\n--B--", b"\r\n--B\r\nno colon\r\n\r\n--B--",
)  # fmt: skip
HEADERS = (
    ("Range", ("bytes=0-0", "bytes=-", "bytes=-0", "bytes=5-1", "bytes=" + "9" * 5000 + "-", "bytes=0-1,3-4", "x", "",
               "bytes=\u0663-", "bytes=-" + "9" * 400)),
    ("If-None-Match", ("*", '"x"', "", "\xff", "x" * 9000)),
    ("If-Match", ("*", "", '"x"')),
    ("Authorization", ("", "Basic", "Basic !!!", "Basic " + "A" * 9000, "Bearer x.y.z", "Bearer", "Bearer \xff.\xfe.z",
                       "Basic /////w==", "Negotiate x", "Bearer e30.e30.e30", "Bearer " + "." * 100)),
    ("Cookie", ("internal_auth_session=x", "internal_auth_session=" + "A" * 4000, "=;=;;", "a\xffb", "\xff=\xff")),
    ("Accept", ("text/html", "", "*/*;q=x")),
    ("X-HTTP-Method-Override", ("DELETE",)),
    ("x-lakefs-meta-\u00e9", ("v",)), ("x-lakefs-meta-", ("v", "\xff\xfe")), ("x-lakefs-meta-k", ("v" * 9000, "\xff")),
    ("Content-Encoding", ("gzip",)), ("Expect", ("x",)), ("Accept-Encoding", ("gzip, br",)),
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "get")

# What the real server says with 500 (or drops): the contract's quirks.
REAL = re.compile(
    r"required value: validation error|multipart|^mime: |http: no such file|no merge base|bad index|"
    r"ref: invalid value: validation error|could not parse modifier|repository id: invalid value|"
    r"can't create a branch without commit|bad path traversal blocked|could not parse URI|no multipart boundary|"
    r"operation not supported|^invalid glob|predicate failed|invalid action|^not found$|is not a commit|"
    r"hook aborted|unknown field|argument repository"
)
INSIDE = re.compile(
    rb"Traceback|File \"|\.py\b|lakefs_ops|<class|object at 0x|sqlite|KeyError|TypeError|ValueError|Errno|NoneType|"
    rb"UnicodeEncode|codec can't|OverflowError|RecursionError|internal server error|Internal Server Error"
)


class Sender:
    """Sends raw requests over one connection, as long as the server keeps it."""

    def __init__(self, endpoint):
        self._host, port = endpoint.removeprefix("http://").split(":")
        self._address = (self._host, int(port))
        self._socket = None
        pair = base64.b64encode(f"{ACCESS_KEY_ID}:{SECRET_ACCESS_KEY}".encode()).decode()
        self.authorization = f"Basic {pair}"

    def close(self):
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, method, address, headers, body):
        """Return the status, the headers and the body of the answer; a status of 0 without one."""
        lines = [f"{method} {address} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        data = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
        for fresh in (False, True):
            try:
                if self._socket is None:
                    fresh = True
                    self._socket = socket.create_connection(self._address, timeout=10)
                self._socket.sendall(data)
                answer = http.client.HTTPResponse(self._socket, method=method)
                answer.begin()
                content = answer.read()
            except (http.client.HTTPException, ConnectionError):
                self.close()
                if fresh:
                    return 0, {}, b""
                continue
            if answer.will_close:
                self.close()
            return answer.status, answer.headers, content
        return 0, {}, b""


class Fuzz:
    """Makes requests from the table of operations, right in most parts and wrong in some."""

    def __init__(self, seed):
        self.random = Random(seed)
        self.schemas = specification()[1]

    def request(self):
        random = self.random
        operation = random.choice(OFTEN if random.random() < 0.8 else OPERATIONS)
        wrong = random.choice(("", "", "names", "query", "headers", "body", "method", "all"))
        everything = wrong == "all"
        address = "/api/v1" + re.sub(
            r"\{(\w+)\}", lambda found: self.name(found[1], odd=wrong == "names" or everything), operation["path"]
        )
        if random.random() < 0.02:
            address = random.choice((f"{address}/", f"/{address}", f"{address}/x", "/api/v1", "/", "//", "/api/v1/%2e"))
        query = self.query(operation, odd=wrong == "query" or everything)
        headers, body = [], b""
        if operation["operation"] in ("uploadObject",):
            body, kind = random.choice(FORMS), random.choice(("multipart/form-data; boundary=B", "text/plain", ""))
        elif "body" in operation:
            kind = "application/json"
            value = self.value(operation["body"], odd=wrong == "body" or everything)
            body = json.dumps(value).encode()
        else:
            kind = ""
        if (wrong == "body" or everything) and random.random() < 0.6:
            body = random.choice((*RAW_JSON, *FORMS, random.randbytes(random.randrange(200)), body[: len(body) // 2]))
            kind = random.choice((kind, kind, *TYPES))
        if kind:
            headers.append(("Content-Type", kind))
        if wrong == "headers" or everything:
            for name, values in random.sample(HEADERS, random.randint(1, 3)):
                headers.append((name, random.choice(values)))
        if not any(name == "Authorization" for name, _ in headers) and random.random() < 0.95:
            headers.append(("Authorization", self.authorization))
        method = random.choice(METHODS) if wrong == "method" else operation["method"]
        if method == "DELETE" and "/users/" in address:
            method = "GET"  # without its user, the server lets nobody in any more
        return method, address + query, headers, body

    def name(self, name, *, odd):
        random = self.random
        if odd and random.random() < 0.5:
            return random.choice((*RAW, *(_quoted(text) for text in NAMES)))
        if name == "repository":
            return REPOSITORY
        if name in ("branch", "destinationBranch"):
            return random.choice(("main", "dev", "dev", "dev"))
        return random.choice(("main", "dev", "dev", "v1", "main~1", "main@", "quickstart", "1"))

    def query(self, operation, *, odd):
        random = self.random
        given = []
        for parameter in operation.get("parameters", ()):
            if parameter["in"] != "query" or not (parameter.get("required") or random.random() < 0.5):
                continue
            schema = parameter["schema"]
            schema = {"type": schema} if isinstance(schema, str) else schema
            if schema.get("type") == "array":
                schema = schema.get("items", {"type": "string"})
            for _ in range(random.choice((0, 1, 1, 2)) if odd else 1):
                text = self.value(schema, odd=odd)
                text = str(text).lower() if isinstance(text, bool) else text if isinstance(text, str) else str(text)
                if odd and random.random() < 0.3:
                    text = random.choice((*NAMES, *TEXTS, "9" * 5000))
                quoted = random.choice(RAW) if odd and random.random() < 0.2 else _quoted(text)
                given.append(f"{parameter['name']}={quoted}")
        if odd and random.random() < 0.3:
            given.append(random.choice(("x=y", "=", "&&", "a;b", "%ff=%ff", "prefix", "amount=1&amount=2", "x" * 3000)))
        return "?" + "&".join(given) if given else ""

    def value(self, schema, *, odd):
        random = self.random
        if isinstance(schema, str):
            schema = self.schemas.get(schema) or {"type": schema}
        if odd and random.random() < 0.25:
            return random.choice((None, True, [], {}, [[]], {"a": {"b": [1]}}, *TEXTS, *NUMBERS))
        kind = schema.get("type")
        if "allOf" in schema:
            found = {}
            for part in schema["allOf"]:
                part = self.value(part, odd=False)
                found.update(part if isinstance(part, dict) else {})
            return found
        if "enum" in schema:
            return random.choice(schema["enum"])
        if kind == "object":
            found = {}
            for name, shape in schema.get("properties", {}).items():
                if random.random() < (0.5 if name not in schema.get("required", ()) else 0.9 if odd else 1):
                    found[name] = self.value(shape, odd=odd)
            if "values" in schema:
                for _ in range(random.randint(0, 2)):
                    found[random.choice(TEXTS)] = self.value(schema["values"], odd=odd)
            return found
        if kind == "array":
            return [self.value(schema.get("items", "string"), odd=odd) for _ in range(random.randint(0, 3))]
        if kind == "integer":
            return random.choice(NUMBERS) if odd else random.choice((0, 1, 2, 100))
        if kind == "number":
            return random.choice(NUMBERS)
        if kind == "boolean":
            return random.random() < 0.5
        return random.choice(TEXTS if odd else ("a", "a", "a/b", "dev", "main", "v1", "n1", "2020-01-01T00:00:00Z"))


def _quoted(text):
    data = text.encode("utf-8", "surrogatepass")
    return "".join(chr(byte) if byte < 128 and chr(byte).isalnum() else f"%{byte:02X}" for byte in data)


@pytest.fixture
def server(tmp_path):
    with LocalLakeFS(tmp_path) as running:
        yield running


@pytest.fixture
def sender(server):
    found = Sender(server.endpoint)
    yield found
    found.close()


def ask(sender, method, address, value=None, body=b"", kind="application/json"):
    headers = [("Authorization", sender.authorization)]
    if value is not None:
        body = json.dumps(value).encode()
    if body:
        headers.append(("Content-Type", kind))
    return sender.send(method, f"/api/v1{address}", headers, body)


@pytest.fixture
def repository(sender):
    assert set(prepare(sender)) <= {201, 204}


def prepare(sender, number=0):
    """Make what the requests are about, or make it again; return the statuses."""
    here = f"/repositories/{REPOSITORY}"
    made = {"name": REPOSITORY, "storage_namespace": f"local://fuzzed-{number}"}
    statuses = [ask(sender, "POST", "/repositories", made)[0]]
    statuses += [ask(sender, "PUT", f"{here}/settings/branch_protection", [])[0]]
    for number in range(2):
        for path in ("a", "a/b", "n1"):
            upload = f"{here}/branches/main/objects?path={path}"
            statuses.append(ask(sender, "POST", upload, body=b"%d" % number, kind="text/plain")[0])
        statuses.append(ask(sender, "POST", f"{here}/branches/main/commits", {"message": "m"})[0])
    statuses.append(ask(sender, "POST", f"{here}/branches", {"name": "dev", "source": "main~1"})[0])
    statuses.append(ask(sender, "PUT", f"{here}/branches/dev", {"type": "reset"})[0])
    statuses.append(ask(sender, "POST", f"{here}/tags", {"id": "v1", "ref": "main~1"})[0])
    return statuses


def wrong(status, headers, body, method):
    """Return what is wrong with an answer, or None."""
    if status == 0:
        return "no answer"
    if INSIDE.search(body):
        return "tells of the inside"
    if headers.get("Content-Type") == "application/json" and method != "HEAD" and body:
        try:
            message = json.JSONDecoder().raw_decode(body.decode())[0]
        except ValueError:
            return "not JSON in UTF-8"
        if status == 500 and not REAL.search(message.get("message", "")):
            return "a 500 of its own"
    elif status == 500 and method != "HEAD":
        return "a 500 that is not JSON"
    return None


def test_no_request_breaks_the_server(server, sender, repository, tmp_path, check):
    fuzz = Fuzz(SEED)
    fuzz.authorization = sender.authorization
    found = []
    for number in range(REQUESTS):
        if number % 50 == 49 and not {403, 404, 410, 500}.isdisjoint(prepare(sender, number)):
            ask(sender, "DELETE", f"{HERE}?force=true")
            prepare(sender, f"again-{number}")
        method, address, headers, body = request = fuzz.request()
        status, answered, content = sender.send(*request)
        problem = wrong(status, answered, content, method)
        if problem is not None:
            told = f"{status} {content[:300]!r} to {method} {address[:300]} {headers} {body[:300]!r}"
            found.append(f"{number}: {problem}: {told}")
    assert not found, "\n".join([str(len(found)), *found[:30]])
    assert ask(sender, "GET", "/healthcheck")[0] == 204
    everything_is_readable(sender)
    sender.close()
    server.stop()
    problems = list(check(tmp_path, deep=True, made_up=True).problems())
    assert problems == []


def everything_is_readable(sender):
    """Read all branches, tags, logs and objects of all repositories."""
    for repository in everything(sender, "/repositories?"):
        here = f"/repositories/{repository['id']}"
        refs = [*everything(sender, f"{here}/branches?show_hidden=true&"), *everything(sender, f"{here}/tags?")]
        for ref in refs:
            commit = ref["commit_id"]
            assert ask(sender, "GET", f"{here}/commits/{commit}")[0] == 200
            everything(sender, f"{here}/refs/{commit}/commits?")
            # A made-up meta-range or physical address is taken unseen (contract, 2.7 and 2.11).
            status, _, content = ask(sender, "GET", f"{here}/refs/{commit}/objects/ls")
            assert status in (200, 410) or b"could not parse URI" in content, content


def everything(sender, address):
    status, _, content = ask(sender, "GET", f"{address}amount=1000")
    assert status == 200, (address, content)
    return json.loads(content)["results"]


COMMITS = f"{HERE}/branches/main/commits"


@pytest.mark.parametrize(
    ("method", "address", "body", "status", "text"),
    [
        ("POST", COMMITS, b'{"message":"m","date":' + b"9" * 5000 + b"}", 400, "is too large"),
        ("POST", COMMITS, b'{"message":"m","date":1e400}', 400, "number 1e400 is too large"),
        ("POST", COMMITS, b'{"message":"m","date":NaN}', 400, "invalid number NaN"),
        ("POST", COMMITS, b'{"message":"m","date":-Infinity}', 400, "invalid number -Infinity"),
        ("POST", COMMITS, b'{"message":"m","date":9223372036854775808}', 400, "Error unmarshalling body 'Commit'"),
        ("POST", COMMITS, b'{"message":"m","date":1.0}', 400, "Error unmarshalling body 'Commit' as JSON"),
        ("POST", COMMITS, b'{"message":"m","date":9223372036854775807,"allow_empty":true}', 201, "9223372036854775807"),
        ("POST", COMMITS, b'{"message":"a\\ud800b","allow_empty":true}', 201, "a\ufffdb"),
        ("GET", f"{HERE}/branches?amount={'9' * 5000}", b"", 400, "value out of range"),
        ("GET", f"{HERE}/refs/main~{'9' * 5000}/commits", b"", 400, "could not parse modifier"),
        ("GET", f"{HERE}/metadata/range/a%00b", b"", 200, "_lakefs/a"),
        ("POST", "/auth/users", b"", 400, "empty name"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str | bytes) else None,
)
def test_what_was_found(sender, repository, method, address, body, status, text):
    answered, _, content = ask(sender, method, address, body=body)
    assert (answered, text in content.decode()) == (status, True), content


def test_a_range_beyond_all_numbers(sender, repository):
    headers = [("Authorization", sender.authorization), ("Range", f"bytes={'9' * 5000}-")]
    assert sender.send("GET", f"/api/v1{HERE}/refs/main/objects?path=a", headers, b"")[0] == 416


def test_a_refused_merge_of_a_made_up_meta_range_is_no_damage(server, sender, repository, tmp_path, check):
    assert ask(sender, "POST", f"{COMMITS}?source_metarange=made-up", {"message": "1"})[0] == 201
    assert ask(sender, "POST", f"{HERE}/refs/main/merge/main", {"allow_empty": True})[0] == 410
    sender.close()
    server.stop()
    assert list(check(tmp_path, made_up=True).problems()) == []
