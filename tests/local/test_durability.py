"""Nothing that was answered is lost: under SIGKILL at random moments, and under races.

``LAKEFS_OPS_ROUNDS=500`` kills the server more often than 25 times, as the nightly form does (``make conservation``).
"""

import base64
import http.client
import itertools
import json
import os
import random
import threading
import time
from collections import Counter
from urllib.parse import quote, urlsplit

import pytest

from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, LocalLakeFS

ROUNDS = int(os.environ.get("LAKEFS_OPS_ROUNDS", "25"))
WRITERS = 5
KEYS = {"Authorization": "Basic " + base64.b64encode(f"{ACCESS_KEY_ID}:{SECRET_ACCESS_KEY}".encode()).decode()}
LAKE = "/repositories/lake"


class Caller:
    """One connection, without repeats: what it was not answered, it does not know."""

    def __init__(self, endpoint):
        self.connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=20)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.connection.close()

    def __call__(self, method, path, value=None, *, raw=None, headers=()):
        body, headers = raw, {**KEYS, **dict(headers)}
        if value is not None:
            body, headers["Content-Type"] = json.dumps(value), "application/json"
        self.connection.request(method, f"/api/v1{path}", body, headers)
        answer = self.connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if answer.headers.get_content_type() == "application/json" else data

    def all(self, path):
        after, results = "", []
        while True:
            status, page = self("GET", f"{path}{'&' if '?' in path else '?'}amount=1000&after={quote(after)}")
            assert status == 200, page
            results += page["results"]
            if not page["pagination"]["has_more"]:
                return results
            after = page["pagination"]["next_offset"]


class Writer:
    """Writes on its own branch and merges into ``main``; remembers what was answered."""

    def __init__(self, number):
        self.branch = f"w{number}"
        self.random = random.Random(number)
        self.objects = {}
        self.unsure = set()
        self.commits, self.merges, self.branches = set(), set(), set()
        self.wrong = []
        self.serial = itertools.count()
        self.endpoint = ""

    def again(self, endpoint):
        """Return a thread that goes on with the same memory."""
        self.endpoint = endpoint
        thread = threading.Thread(target=self.work)
        thread.start()
        return thread

    def work(self):
        with Caller(self.endpoint) as call:
            try:
                while True:
                    self.step(call)
            except (OSError, http.client.HTTPException):
                return
            except Exception as error:
                self.wrong.append(repr(error))

    def step(self, call):
        number = next(self.serial)
        kind = self.random.choices(("upload", "delete", "commit", "merge", "branch"), (10, 2, 3, 2, 2))[0]
        if kind == "upload":
            path, content = (
                f"{self.branch}/{self.random.randrange(60):03}",
                b"%d" % number * self.random.randrange(1, 9000),
            )
            self.unsure.add(path)
            answer = call("POST", f"{LAKE}/branches/{self.branch}/objects?path={quote(path)}", raw=content)
            self.expect(answer, 201)
            self.objects[path] = content
            self.unsure.discard(path)
        elif kind == "delete" and self.objects:
            path = self.random.choice(list(self.objects))
            self.unsure.add(path)
            self.expect(call("DELETE", f"{LAKE}/branches/{self.branch}/objects?path={quote(path)}"), 204)
            self.objects[path] = None
            self.unsure.discard(path)
        elif kind == "commit":
            answer = call("POST", f"{LAKE}/branches/{self.branch}/commits", {"message": f"{number}"})
            if self.expect(answer, 201, "no changes"):
                self.commits.add(answer[1]["id"])
        elif kind == "merge":
            answer = call("POST", f"{LAKE}/refs/{self.branch}/merge/main", {})
            if self.expect(answer, 200, "no changes"):
                self.merges.add(answer[1]["reference"])
        elif kind == "branch":
            name = f"{self.branch}-{number}"
            self.expect(call("POST", f"{LAKE}/branches", {"name": name, "source": self.branch}), 201)
            self.branches.add(name)

    def expect(self, answer, status, *excuses):
        """Return whether it was done; note what no server should answer."""
        if answer[0] == status:
            return True
        if not any(excuse in str(answer[1]) for excuse in excuses):
            self.wrong.append(answer)
        return False

    def lost(self, call):
        """Return what was answered and is not there."""
        missing = []
        log = {commit["id"] for commit in call.all(f"{LAKE}/refs/{self.branch}/commits")}
        main = {commit["id"] for commit in call.all(f"{LAKE}/refs/main/commits")}
        missing += self.commits - log
        missing += self.merges - main
        missing += self.branches - {branch["id"] for branch in call.all(f"{LAKE}/branches?prefix={self.branch}-")}
        for path, content in self.objects.items():
            if path in self.unsure:
                continue
            status, found = call("GET", f"{LAKE}/refs/{self.branch}/objects?path={quote(path)}")
            if (status, found) != (200, content) and not (content is None and status == 404):
                missing.append(path)
        return missing


def test_killed_at_random_moments_under_load(process, check):
    seed = random.SystemRandom().randrange(1 << 32)
    moments = random.Random(seed)
    writers = [Writer(number) for number in range(WRITERS)]
    with Caller(process.start().endpoint) as call:
        assert call("POST", "/repositories", {"name": "lake", "storage_namespace": "local://lake"})[0] == 201
        for writer in writers:
            assert call("POST", f"{LAKE}/branches", {"name": writer.branch, "source": "main"})[0] == 201
    for round_ in range(ROUNDS):
        threads = [writer.again(process.endpoint) for writer in writers]
        time.sleep(moments.uniform(0.02, 0.5))
        assert "Traceback" not in process.kill()
        for thread in threads:
            thread.join()
        told = f"seed {seed}, round {round_}"
        assert not [writer.wrong for writer in writers if writer.wrong], told
        assert not list(check(process.data, deep=True).problems()), told
        with Caller(process.start().endpoint) as call:
            for writer in writers:
                assert not writer.lost(call), told
    assert sum(len(writer.merges) for writer in writers) > 0
    assert sum(len(writer.commits) for writer in writers) > ROUNDS


@pytest.fixture
def lake(tmp_path, check):
    """A server with a repository, whose directory must be whole in the end."""
    with LocalLakeFS(tmp_path) as server:
        with Caller(server.endpoint) as call:
            call("POST", "/repositories", {"name": "lake", "storage_namespace": "local://lake"})
        yield server
    assert not list(check(tmp_path, deep=True).problems())


def race(server, work, racers=8):
    """Let several callers do something at once; return what each returned."""
    results, barrier = [None] * racers, threading.Barrier(racers)

    def run(number):
        with Caller(server.endpoint) as call:
            barrier.wait()
            results[number] = work(call, number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_uploads_commits_and_merges_of_one_branch_at_once(lake):
    def work(call, number):
        source = f"from-{number}"
        assert call("POST", f"{LAKE}/branches", {"name": source, "source": "main"})[0] == 201
        answers = []
        for turn in range(6):
            for branch in ("main", source):
                path = f"{branch}/{number}/{turn}"
                answers.append(
                    ("upload", path, call("POST", f"{LAKE}/branches/{branch}/objects?path={path}", raw=b"1"))
                )
                answers.append(("commit", path, call("POST", f"{LAKE}/branches/{branch}/commits", {"message": path})))
            answers.append(("merge", source, call("POST", f"{LAKE}/refs/{source}/merge/main", {})))
        return answers

    done = list(itertools.chain(*race(lake, work)))
    said = Counter((what, answer[0], answer[1].get("message") if answer[0] >= 400 else "") for what, _, answer in done)
    told = "update branch main: "
    assert set(said) <= {
        ("upload", 201, ""),
        ("commit", 201, ""),
        ("commit", 400, "commit: no changes"),
        ("merge", 200, ""),
        ("merge", 400, "uncommitted changes (dirty branch)"),
        ("merge", 400, f"{told}no changes"),
        ("merge", 400, f"{told}uncommitted changes (dirty branch)"),
        ("merge", 429, "Too many attempts, try again later"),  # the branch moved each time, as lakeFS says it too
    }, said
    with Caller(lake.endpoint) as call:
        call("POST", f"{LAKE}/branches/main/commits", {"message": "the rest"})
        for number in range(8):
            status, value = call("POST", f"{LAKE}/refs/from-{number}/merge/main", {})
            assert status == 200 or "no changes" in value["message"]
        there = [entry["path"] for entry in call.all(f"{LAKE}/refs/main/objects/ls")]
        assert there == sorted(path for what, path, _ in done if what == "upload")
        log = Counter(commit["id"] for commit in call.all(f"{LAKE}/refs/main/commits"))
        assert set(log.values()) == {1}
        made = [
            a[1].get("id") or a[1]["reference"] for what, _, a in done if what in ("commit", "merge") and a[0] < 300
        ]
        assert len(made) == len(set(made))
        assert set(made) <= set(log)
        # Along the first parents each object is added once, and nothing is ever taken away.
        line = call.all(f"{LAKE}/refs/main/commits?first_parent=true")
        added = Counter()
        for commit, parent in itertools.pairwise(line):
            for change in call.all(f"{LAKE}/refs/{parent['id']}/diff/{commit['id']}?type=two_dot"):
                assert change["type"] == "added"
                added[change["path"]] += 1
        assert added == Counter(there)


def test_only_one_of_many_makes_what_must_not_exist(lake):
    def work(call, number):
        new = {"If-None-Match": "*"}
        return [
            call("POST", f"{LAKE}/branches/main/objects?path=once", raw=b"%d" % number, headers=new)[0],
            call("POST", f"{LAKE}/branches", {"name": "dev", "source": "main"})[0],
            call("POST", f"{LAKE}/tags", {"id": "v1", "ref": "main"})[0],
            call("POST", "/repositories", {"name": "other", "storage_namespace": "local://other"})[0],
        ]

    for made, refused, statuses in zip(
        [201] * 4, [412, 409, 409, 409], zip(*race(lake, work), strict=True), strict=True
    ):
        assert sorted(statuses) == [made] + [refused] * 7


def test_a_branch_that_goes_while_it_is_written_leaves_nothing(lake):
    def work(call, number):
        for _ in range(10):
            if number == 0:
                call("POST", f"{LAKE}/branches", {"name": "dev", "source": "main"})
                call("DELETE", f"{LAKE}/branches/dev")
            else:
                status, _ = call("POST", f"{LAKE}/branches/dev/objects?path={number}", raw=b"1")
                assert status in (201, 404)

    race(lake, work)
