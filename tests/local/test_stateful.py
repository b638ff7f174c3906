"""Random operations against the server and against a lakeFS kept in dictionaries: same results, same refusals.

``LAKEFS_OPS_STEPS=20000`` runs that many steps instead of some thousands.
"""

import base64
import hashlib
import http.client
import itertools
import json
import os
import re
import struct
import time
from dataclasses import dataclass, field
from random import Random
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, LocalLakeFS

STEPS = int(os.environ.get("LAKEFS_OPS_STEPS", "0"))
STEPS_AT_ONCE = 150
EXAMPLES = max(1, STEPS // STEPS_AT_ONCE) if STEPS else 30

_repositories = itertools.count(1)


# the model --------------------------------------------------------------------------------------------------


class Refused(Exception):
    """The model refuses, with a status."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class Object:
    content: bytes
    content_type: str = "application/octet-stream"
    metadata: tuple = ()


@dataclass
class Commit:
    id: str
    parents: list
    tree: dict
    message: str
    metadata: dict
    moment: int
    generation: int
    meta_range: str


@dataclass
class Branch:
    head: str
    staged: dict = field(default_factory=dict)
    sealed: dict = field(default_factory=dict)

    @property
    def uncommitted(self):
        return {**self.sealed, **self.staged}

    def seal(self):
        self.sealed, self.staged = self.uncommitted, {}


def identify(commit, created):
    """Return the id that a commit must have (contract, part 3)."""

    def number(value):
        return b"\x02\x08" + struct.pack(">q", value)

    def text(value):
        return b"\x01" + number(len(value.encode())) + value.encode()

    parents = hashlib.sha256(b"\x03" + number(len(commit["parents"])) + b"".join(map(text, commit["parents"])))
    whole = b"".join(map(text, ("commit:v1", commit["committer"], commit["message"], commit["meta_range_id"])))
    pairs = sorted(commit["metadata"].items(), key=lambda pair: pair[0].encode())
    whole += number(created) + b"\x04" + number(len(pairs)) + b"".join(text(k) + text(v) for k, v in pairs)
    whole += b"\x05\x00" + number(32) + parents.digest()
    return hashlib.sha256(whole).hexdigest()


BRANCH = re.compile(r"\w[-\w]*", re.ASCII)


class Model:
    """What lakeFS does, in dictionaries."""

    def __init__(self):
        self.commits = {}
        self.order = []
        self.branches = {}
        self.tags = {}

    # names

    def branch(self, name):
        if not BRANCH.fullmatch(name):
            raise Refused(400)
        if name not in self.branches:
            raise Refused(404)
        return self.branches[name]

    def _base(self, name):
        if name in self.commits:
            return name, None
        if name in self.branches:
            return self.branches[name].head, name
        if name in self.tags:
            return self.tags[name], None
        if re.fullmatch(r"[0-9a-f]+", name):
            found = [commit for commit in self.commits if commit.startswith(name)]
            if len(found) == 1:
                return found[0], None
        raise Refused(404)

    def resolve(self, expression):
        """Return a commit, the branch that is named as it is, and ``@`` or ``$`` or nothing."""
        if re.search(r"\s", expression):
            raise Refused(400)
        base, rest = re.fullmatch(r"([^~^@$]*)(.*)", expression).groups()
        if not base:
            raise Refused(400)
        parts = re.findall(r"([~^@$])([^~^@$]*)", rest)
        for sign, number in parts:
            if (number and not number.isdigit()) or (sign in "@$" and number):
                raise Refused(400)
        commit, branch = self._base(base)
        if rest in ("@", "$"):
            if branch is None:
                raise Refused(400)
            return commit, branch, rest
        for sign, number in parts:
            if sign in "@$":
                raise Refused(400)
            steps = int(number or 1)
            if sign == "~":
                for _ in range(steps):
                    if not self.commits[commit].parents:
                        raise Refused(404)
                    commit = self.commits[commit].parents[0]
            elif steps:
                if steps > len(self.commits[commit].parents):
                    raise Refused(400)
                commit = self.commits[commit].parents[steps - 1]
        return commit, None if parts else branch, ""

    def commit_of(self, expression):
        commit, _, modifier = self.resolve(expression)
        if modifier == "$":
            raise Refused(400)
        return self.commits[commit]

    # content

    def over(self, branch):
        tree = dict(self.commits[branch.head].tree)
        for path, found in branch.uncommitted.items():
            if found is None:
                tree.pop(path, None)
            else:
                tree[path] = found
        return tree

    def seen(self, expression):
        """Return the objects that a ref shows."""
        commit, branch, modifier = self.resolve(expression)
        if branch is None or modifier == "@":
            return self.commits[commit].tree
        return self.over(self.branches[branch])

    def changes(self, branch):
        return compare(self.commits[branch.head].tree, self.over(branch))

    def remove(self, branch, path):
        if path in self.commits[branch.head].tree or path in branch.uncommitted:
            branch.staged[path] = None

    def prepare(self, branch):
        """Seal what is staged on a branch that is to move."""
        if self.changes(branch):
            raise Refused(400)
        branch.seal()

    # history

    def merge_base(self, left, right):
        if left.id == right.id:
            return left
        marks = {left.id: {"left"}, right.id: {"right"}}
        waiting = [left, right]
        while waiting:
            waiting.sort(key=lambda commit: (-commit.generation, -commit.moment, commit.id))
            commit = waiting.pop(0)
            for parent in commit.parents:
                if parent not in marks:
                    waiting.append(self.commits[parent])
                marks.setdefault(parent, set()).update(marks[commit.id])
                if len(marks[parent]) == 2:
                    return self.commits[parent]
        raise AssertionError("all come from the first commit")

    def log(self, head, first_parent):
        waiting, seen = [head], {head.id}
        while waiting:
            waiting.sort(key=lambda commit: (commit.moment, commit.id), reverse=True)
            commit = waiting.pop(0)
            yield commit
            for parent in commit.parents[:1] if first_parent else commit.parents:
                if parent not in seen:
                    seen.add(parent)
                    waiting.append(self.commits[parent])


def compare(left, right):
    """Return the differences of two trees: type and size by path."""
    found = {}
    for path in sorted({*left, *right}):
        one, two = left.get(path), right.get(path)
        if one != two:
            kind = "added" if one is None else "removed" if two is None else "changed"
            found[path] = (kind, len((two or one).content))
    return found


def three_dot(base, left, right):
    found = {}
    for path in sorted({*base, *left, *right}):
        b, one, two = base.get(path), left.get(path), right.get(path)
        if b == two or one == two:
            continue
        if one == b:
            found[path] = ("added" if b is None else "removed" if two is None else "changed", len((two or b).content))
        else:
            found[path] = ("conflict", None)
    return found


def three_way(base, source, destination, strategy):
    """Return the merged tree (contract, part 4)."""
    merged = {}
    for path in {*base, *source, *destination}:
        b, s, d = base.get(path), source.get(path), destination.get(path)
        if s in (b, d):
            result = d
        elif d == b or strategy == "source-wins":
            result = s
        elif strategy == "dest-wins":
            result = d
        else:
            raise Refused(409)
        if result is not None:
            merged[path] = result
    return merged


def grouped(paths, prefix, after, delimiter, *, difference):
    """Return the lines of a listing from ``after`` on: paths, and groups."""
    paths = [path for path in paths if path.startswith(prefix)]
    if difference:
        paths = [path for path in paths if path > after and not (delimiter and after and path.startswith(after))]
    groups = {}
    for path in paths:
        at = path.find(delimiter, len(prefix)) if delimiter else -1
        groups.setdefault((path[: at + len(delimiter)], True) if at >= 0 else (path, False), []).append(path)
    lines = []
    for (line, is_group), members in groups.items():
        inside = is_group and after.startswith(line) and after != line
        if difference or line > after or (inside and members[-1] >= after):
            lines.append((line, is_group))
    return sorted(lines)


# the server -------------------------------------------------------------------------------------------------


class Wire:
    """Sends requests over one connection."""

    def __init__(self, endpoint):
        self._connection = http.client.HTTPConnection(endpoint.removeprefix("http://"))
        pair = base64.b64encode(f"{ACCESS_KEY_ID}:{SECRET_ACCESS_KEY}".encode()).decode()
        self._headers = {"Authorization": f"Basic {pair}"}

    def __call__(self, method, *names, body=None, json_body=None, headers=(), **query):
        address = "/api/v1/" + "/".join(quote(quote(name, safe=""), safe="") for name in names)
        query = {key: value for key, value in query.items() if value is not None}
        if query:
            address += "?" + urlencode(query, doseq=True)
        headers = {**self._headers, **dict(headers)}
        if json_body is not None:
            body, headers["Content-Type"] = json.dumps(json_body), "application/json"
        self._connection.request(method, address, body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if method != "HEAD" and answer.headers.get("Content-Type") == "application/json":
            value = json.loads(data)
            if answer.status >= 400 and not (answer.status == 409 and value == {"reference": ""}):
                assert value["message"]
            return answer.status, value
        return answer.status, data

    def close(self):
        self._connection.close()


# the machine ------------------------------------------------------------------------------------------------

PATHS = (
    "a", "a/", "a/1", "a/2", "a/b/1", "a/b/2", "a//x", "a-", "b", "b/1", "ba", "c/d/e", "c/d0", "é", "\U0001f600/x",
    "\uffff", "n\0x", " s ", "A", "%41", "a+b", "\U0010ffff/\U0010ffff/1", "_lakefs",
)  # fmt: skip
PREFIXES = ("", "", "a", "a/", "a/b", "b", "c/", "zz", "n\0", "\U0010ffff", "é")
DELIMITERS = ("", "", "/", "/", "b", "//")
BRANCHES = ("main", "dev", "b1", "b2", "abc", "main", "dev", "b1")
ODD_BRANCHES = (*BRANCHES, "none", "bad name", "-dash", "x~1", "v1", "a/b", "é")
TAGS = ("v1", "t-2", "v1.0", "abc", "dev", "fade", "q~1", "tag~", "bad..tag", "x.lock", "a b", "@", "é")
SUFFIXES = ("",) * 12 + (
    "~", "~1", "~2", "^", "^1", "^2", "^0", "~0", "~02", "@", "$", "~1^2", "^2~1", "^^", "~abc", "^9", "~99", "@~1",
    "~1@", "@1", "~1.5",
)  # fmt: skip


def one_of(choices):
    """Return a chooser of one of several."""
    return lambda random: random.choice(choices)


def mostly(usual, rare):
    """Return a chooser of one of the usual, now and then of the rare ones."""
    return lambda random: random.choice(usual if random.random() < 0.8 else rare)


def several(least, most):
    """Return a chooser of paths."""
    return lambda random: [paths(random) for _ in range(random.randint(least, most))]


def expressions(random):
    """Choose a ref expression: a kind of name, which of them, and what follows it."""
    kind = random.choice(("branch",) * 8 + ("tag", "tag", "commit", "commit", "short", "odd"))
    return kind, random.randrange(20), random.choice(SUFFIXES) if random.random() < 0.4 else ""


paths = mostly(PATHS[:8], PATHS)
contents = one_of((b"", b"1", b"1", b"2", b"33", bytes(range(256)) * 300))
types = one_of((None, None, "text/plain", "text/csv; x=1"))
pairs = one_of(({}, {}, {"k": "v"}, {"k": "w", "other": ""}))
branches = mostly(("main", "dev", "b1"), BRANCHES)
odd_branches = mostly(BRANCHES, ODD_BRANCHES)
tags = one_of(TAGS)
messages = one_of(("one", "two", "", "\u00e9\n\0 'quoted'"))
flags = one_of((False, True))
amounts = one_of((None, 1, 2, 3, -1, 0, 1000))
strategies = one_of(("",) * 5 + ("source-wins", "source-wins", "dest-wins", "dest-wins", "bad"))

OPERATIONS = []


def operation(weight=1, **choosers):
    """Mark what the machine may do, how often, and how its arguments are chosen."""

    def mark(method):
        OPERATIONS.extend([(method, choosers)] * weight)
        return method

    return mark


class Machine(RuleBasedStateMachine):
    endpoint = ""

    def __init__(self):
        super().__init__()
        self.wire = Wire(self.endpoint)
        self.repository = f"r{next(_repositories)}-{os.getpid()}"
        self.model = Model()
        self.steps = 0

    def teardown(self):
        self.wire.close()

    def call(self, method, *names, **options):
        return self.wire(method, "repositories", self.repository, *names, **options)

    @initialize()
    def begin(self):
        made = {"name": self.repository, "storage_namespace": f"local://{self.repository}"}
        status, value = self.wire("POST", "repositories", json_body=made)
        assert status == 201, value
        commit = self.call("GET", "branches", "main")[1]["commit_id"]
        self.model.commits[commit] = Commit(commit, [], {}, "Repository created", {}, time.time_ns(), 1, "")
        self.model.order.append(commit)
        self.model.branches["main"] = Branch(commit)
        for name in ("dev", "b1"):
            self.create_branch(name, ("branch", 0, ""))

    def expression(self, drawn):
        kind, number, suffix = drawn
        model = self.model
        if kind == "branch":
            found = sorted(model.branches)
        elif kind == "tag":
            found = sorted(model.tags) or ["none"]
        elif kind == "odd":
            found = ["", "none", "0", "a b", "f", "DEV", "é", "~", "main main", "fa", "deadbeef"]
        else:
            found = model.order[::-1]
        name = found[number % len(found)]
        if kind == "short":
            name = name[: (1, 2, 4, 8, 63)[number % 5]]
        return (name + suffix) or "~1"

    def expect(self, model, answer, good):
        """Compare a status with what the model says; return the model's result, and whether it is a good one."""
        try:
            result = model()
        except Refused as refused:
            assert answer[0] == refused.status, answer
            return None, False
        assert answer[0] == good, answer
        return result, True

    def made(self, commit_id, *, parents, tree, message, metadata, generation=None, date=None, name=""):
        """Take a new commit over into the model, and look at how the server shows it."""
        status, shown = self.call("GET", "commits", commit_id)
        assert status == 200, shown
        model = self.model
        expected = generation or max(model.commits[parent].generation for parent in parents) + 1
        assert shown["parents"] == parents
        assert (shown["message"], shown["metadata"]) == (message, metadata)
        assert (shown["generation"], shown["version"], shown["committer"]) == (expected, 1, "quickstart")
        assert shown["id"] == commit_id == identify(shown, shown["creation_date"])
        if date is None:
            assert abs(time.time() - shown["creation_date"]) < 30
        else:
            assert shown["creation_date"] == date
        for other in model.commits.values():
            if other.tree != tree:
                assert other.meta_range != shown["meta_range_id"]
        if commit_id not in model.commits:
            moment = time.time_ns() if date is None else date * 1_000_000_000
            model.commits[commit_id] = Commit(
                commit_id, parents, tree, message, metadata, moment, expected, shown["meta_range_id"]
            )
            model.order.append(commit_id)
        if name:
            model.branches[name].head = commit_id
            model.branches[name].sealed = {}

    @rule(seed=st.integers(0, (1 << 32) - 1))
    def step(self, seed):
        """Do one thing; a number says which, so that a failure shrinks to the steps it needs, quickly."""
        self.steps += 1
        # Hypothesis likes small numbers and repeats them; they shall not mean the same thing every time.
        random = Random(seed if seed >> 16 else f"{seed} {self.steps}")
        method, choosers = random.choice(OPERATIONS)
        arguments = {name: choose(random) for name, choose in choosers.items()}
        note(f"{method.__name__}({arguments})")
        method(self, **arguments)

    @operation(3)
    def settle(self):
        """Commit whatever is uncommitted, so that merges have something to do."""
        for name, branch in sorted(self.model.branches.items()):
            if self.model.changes(branch):
                self.commit(name, "settled", {}, False, None)

    # objects

    @operation(branch=odd_branches, path=paths, content=contents, kind=types, metadata=pairs, once=flags)
    def upload_somewhere(self, branch, path, content, kind, metadata, once):
        self.upload(branch, path, content, kind, metadata, once and path < "b")

    @operation(12, branch=branches, path=paths, content=contents)
    def upload_simply(self, branch, path, content):
        self.upload(branch, path, content, None, {}, False)

    def upload(self, branch, path, content, kind, metadata, once):
        headers = {f"x-lakefs-meta-{key}": value for key, value in metadata.items()}
        if kind is not None:
            headers["Content-Type"] = kind
        if once:
            headers["If-None-Match"] = "*"
        answer = self.call("POST", "branches", branch, "objects", body=content, headers=headers, path=path)

        def model():
            found = self.model.branch(branch)
            if once and path in self.model.over(found):
                raise Refused(412)
            kept = Object(content, kind or "application/octet-stream", tuple(sorted(metadata.items())))
            found.staged[path] = kept
            return kept

        result, good = self.expect(model, answer, 201)
        if good:
            self.check_object(answer[1], path, result)

    def check_object(self, shown, path, expected, *, metadata=True):
        assert shown["path"] == path
        assert shown["path_type"] == "object"
        assert shown["size_bytes"] == len(expected.content)
        assert shown["checksum"] == hashlib.md5(expected.content).hexdigest()
        assert shown["content_type"] == expected.content_type
        if metadata:
            assert shown.get("metadata", {}) == dict(expected.metadata)
        else:
            assert not shown.get("metadata")

    @operation(branch=odd_branches, path=paths)
    def delete(self, branch, path):
        answer = self.call("DELETE", "branches", branch, "objects", path=path)
        self.expect(lambda: self.model.remove(self.model.branch(branch), path), answer, 204)

    @operation(branch=branches, chosen=several(0, 5))
    def delete_many(self, branch, chosen):
        answer = self.call("POST", "branches", branch, "objects", "delete", json_body={"paths": chosen})
        assert answer == (200, {"errors": []})
        for path in chosen if branch in self.model.branches else ():
            self.model.remove(self.model.branches[branch], path)

    @operation(branch=branches, source=paths, ref=expressions, here=flags, path=paths)
    def copy(self, branch, source, ref, here, path):
        ref = self.expression(ref)
        fields = {"src_path": source} if here else {"src_path": source, "src_ref": ref}
        answer = self.call("POST", "branches", branch, "objects", "copy", json_body=fields, dest_path=path)

        def model():
            found = self.model.branch(branch)
            seen = self.model.over(found) if here else self.model.seen(ref)
            if source not in seen:
                raise Refused(404)
            found.staged[path] = seen[source]
            return seen[source]

        result, good = self.expect(model, answer, 201)
        if good:
            self.check_object(answer[1], path, result)

    @operation(branch=branches, path=paths, metadata=pairs)
    def set_metadata(self, branch, path, metadata):
        names = ("branches", branch, "objects", "stat", "user_metadata")
        answer = self.call("PUT", *names, json_body={"set": metadata}, path=path)

        def model():
            found = self.model.branch(branch)
            seen = self.model.over(found)
            if path not in seen:
                raise Refused(404)
            kept = Object(seen[path].content, seen[path].content_type, tuple(sorted(metadata.items())))
            found.staged[path] = kept

        self.expect(model, answer, 204)

    @operation(ref=expressions, path=paths, first=one_of(range(0, 3 + 1)), last=one_of(range(0, 300 + 1)))
    def read(self, ref, path, first, last):
        ref = self.expression(ref)

        def model():
            seen = self.model.seen(ref)
            if path not in seen:
                raise Refused(404)
            return seen[path]

        answer = self.call("GET", "refs", ref, "objects", path=path)
        result, good = self.expect(model, answer, 200)
        if good:
            assert answer[1] == result.content
            self.check_object(self.call("GET", "refs", ref, "objects", "stat", path=path)[1], path, result)
            status, part = self.call(
                "GET", "refs", ref, "objects", headers={"Range": f"bytes={first}-{last}"}, path=path
            )
            if first < len(result.content) and first <= last:
                assert (status, part) == (206, result.content[first : last + 1])
            else:
                assert status == 416
        else:
            assert self.call("GET", "refs", ref, "objects", "stat", path=path)[0] == answer[0]
            assert self.call("HEAD", "refs", ref, "objects", path=path)[0] == answer[0]

    @operation(6,
        ref=expressions, prefix=one_of(PREFIXES), after=one_of(("", "", "", *PATHS)),
        delimiter=one_of(DELIMITERS), amount=amounts, plain=flags,
    )  # fmt: skip
    def list_objects(self, ref, prefix, after, delimiter, amount, plain):
        ref = self.expression(ref)
        query = {
            "prefix": prefix,
            "delimiter": delimiter,
            "amount": amount,
            "user_metadata": "false" if plain else None,
        }
        answer = self.call("GET", "refs", ref, "objects", "ls", after=after, **query)
        seen, good = self.expect(lambda: self.model.seen(ref), answer, 200)
        if not good:
            return
        lines = grouped(sorted(seen), prefix, after, delimiter, difference=False)
        for shown, (line, is_group) in self.pages(answer, lines, "refs", ref, "objects", "ls", **query):
            if is_group:
                assert (shown["path"], shown["path_type"]) == (line, "common_prefix")
            else:
                self.check_object(shown, line, seen[line], metadata=not plain)

    def pages(self, answer, lines, *names, **query):
        """Go through all pages; yield what is shown with what must be shown."""
        amount = query["amount"]
        most = amount if amount is not None and amount > 0 else 100
        for start in range(0, len(lines) or 1, most):
            expected = lines[start : start + most]
            results, pagination = answer[1]["results"], answer[1]["pagination"]
            assert [shown["path"] for shown in results] == [line for line, _ in expected]
            more = start + most < len(lines)
            offset = expected[-1][0] if more else ""
            assert pagination == {
                "has_more": more, "next_offset": offset, "results": len(expected), "max_per_page": 1000,
            }  # fmt: skip
            yield from zip(results, expected, strict=True)
            if more:
                answer = self.call("GET", *names, after=offset, **query)

    # branches and tags

    @operation(name=odd_branches, source=expressions)
    def create_branch(self, name, source):
        source = self.expression(source)
        answer = self.call("POST", "branches", json_body={"name": name, "source": source})

        def model():
            if not BRANCH.fullmatch(name) or re.search(r"\s", source):
                raise Refused(400)
            if name in self.model.tags:
                raise Refused(409)
            commit, _, modifier = self.model.resolve(source)
            if modifier == "$":
                raise Refused(500)
            if name in self.model.branches:
                raise Refused(409)
            self.model.branches[name] = Branch(commit)
            return commit

        result, good = self.expect(model, answer, 201)
        if good:
            assert answer[1].decode() == result

    @operation(name=odd_branches, sure=one_of((False, False, True)))
    def delete_branch(self, name, sure):
        if not sure and name in BRANCHES and name != "main":
            return
        answer = self.call("DELETE", "branches", name)

        def model():
            if name == "main":
                raise Refused(403)
            self.model.branch(name)
            del self.model.branches[name]

        self.expect(model, answer, 204)

    @operation(name=tags, ref=expressions, of_commit=one_of(range(0, 9 + 1)))
    def create_tag(self, name, ref, of_commit):
        ref = self.expression(ref)
        if of_commit == 9:
            name = self.model.order[-1]
        answer = self.call("POST", "tags", json_body={"id": name, "ref": ref})

        def model():
            if name in ("bad..tag", "x.lock", "a b", "@"):
                raise Refused(400)
            if name in self.model.branches or name in self.model.commits:
                raise Refused(409)
            if re.search(r"\s", ref.partition("~")[0]):
                raise Refused(404)
            commit = self.model.commit_of(ref).id
            if name in self.model.tags:
                raise Refused(409)
            self.model.tags[name] = commit
            return commit

        result, good = self.expect(model, answer, 201)
        if good:
            assert answer[1] == {"id": name, "commit_id": result}

    @operation(name=tags)
    def get_and_delete_tag(self, name):
        def model():
            if name in ("bad..tag", "x.lock", "a b", "@"):
                raise Refused(400)
            if name not in self.model.tags:
                raise Refused(404)
            return self.model.tags[name]

        answer = self.call("GET", "tags", name)
        result, good = self.expect(model, answer, 200)
        if good:
            assert answer[1] == {"id": name, "commit_id": result}
        answer = self.call("DELETE", "tags", name)
        if self.expect(model, answer, 204)[1]:
            del self.model.tags[name]

    @operation(
        what=one_of(("branches", "tags")), prefix=one_of(("", "", "b", "v", "m")),
        after=one_of(("", "", "b1", "m", "v1")), amount=amounts,
    )  # fmt: skip
    def list_names(self, what, prefix, after, amount):
        if what == "branches":
            found = {name: branch.head for name, branch in self.model.branches.items()}
        else:
            found = self.model.tags
        expected = [name for name in sorted(found) if name.startswith(prefix) and name > after]
        most = amount if amount is not None and amount > 0 else 100
        status, answer = self.call("GET", what, prefix=prefix, after=after, amount=amount)
        assert status == 200
        assert answer["results"] == [{"id": name, "commit_id": found[name]} for name in expected[:most]]
        assert answer["pagination"]["has_more"] == (len(expected) > most)

    # commits

    @operation(
        branch=odd_branches, message=messages, metadata=pairs, empty=flags,
        date=one_of((None, None, None, None, 0, -5, 1_000_000_000, 1_000_000_000, 4_000_000_000)),
    )  # fmt: skip
    def commit_somewhere(self, branch, message, metadata, empty, date):
        self.commit(branch, message, metadata, empty, date)

    @operation(8, branch=branches)
    def commit_simply(self, branch):
        self.commit(branch, "simple", {}, False, None)

    def commit(self, branch, message, metadata, empty, date):
        fields = {"message": message, "metadata": metadata, "allow_empty": empty}
        if date is not None:
            fields["date"] = date
        answer = self.call("POST", "branches", branch, "commits", json_body=fields)

        def model():
            found = self.model.branch(branch)
            found.seal()
            if not self.model.changes(found) and not empty:
                raise Refused(400)
            return found

        found, good = self.expect(model, answer, 201)
        if good:
            self.made(
                answer[1]["id"], parents=[found.head], tree=self.model.over(found), message=message,
                metadata=metadata, date=date, name=branch,
            )  # fmt: skip

    @operation(ref=expressions)
    def get_commit(self, ref):
        ref = self.expression(ref)
        answer = self.call("GET", "commits", ref)

        def model():
            if re.search(r"\s", re.split(r"[~^@$]", ref)[0]):
                # A blank is not looked for: it is just a name that nothing has.
                raise Refused(500 if _malformed(ref) else 404)
            try:
                return self.model.commit_of(ref)
            except Refused as refused:
                raise Refused(500 if refused.status == 400 else refused.status) from None

        result, good = self.expect(model, answer, 200)
        if good:
            assert answer[1]["id"] == result.id
            assert answer[1]["parents"] == result.parents
            assert answer[1]["metadata"] == result.metadata

    @operation(3,
        ref=expressions, first_parent=flags, amount=amounts, limit=flags,
        mode=one_of(("all", "after", "stop", "objects", "prefixes")), other=expressions,
        chosen=several(1, 3),
    )  # fmt: skip
    def log(self, ref, first_parent, amount, limit, mode, other, chosen):
        ref, other = self.expression(ref), self.expression(other)
        query = {"amount": amount}
        if first_parent:
            query["first_parent"] = "true"
        if limit:
            query["limit"] = "true"
        if mode in ("after", "stop"):
            query["after" if mode == "after" else "stop_at"] = other
        elif mode in ("objects", "prefixes"):
            query[mode] = chosen
        answer = self.call("GET", "refs", ref, "commits", **query)

        def model():
            head = self.model.commit_of(ref)
            found = list(self.model.log(head, first_parent))
            ids = [commit.id for commit in found]
            if mode in ("after", "stop"):
                if re.search(r"\s", other):
                    raise Refused(500 if _malformed(other) else 404)
                given = self.model.commit_of(other).id
                if mode == "after":
                    return ids[ids.index(given) + 1 :] if given in ids else []
                return ids[: ids.index(given) + 1] if given in ids else ids
            if mode in ("objects", "prefixes"):
                return [commit.id for commit in found if self._touches(commit, chosen, mode)]
            return ids

        expected, good = self.expect(model, answer, 200)
        if good:
            most = amount if amount is not None and amount > 0 else 100
            assert [commit["id"] for commit in answer[1]["results"]] == expected[:most]
            more = len(expected) > most and not limit
            assert answer[1]["pagination"]["has_more"] == more
            assert answer[1]["pagination"]["next_offset"] == (expected[most - 1] if more else "")

    def _touches(self, commit, chosen, mode):
        if len(commit.parents) != 1:
            return False
        changed = compare(self.model.commits[commit.parents[0]].tree, commit.tree)
        if mode == "objects":
            return any(path in changed for path in chosen)
        return any(path.startswith(tuple(chosen)) for path in changed)

    # what moves branches

    @operation(
        source=expressions, destination=odd_branches, strategy=strategies, squash=one_of((False, False, True)),
        empty=flags, message=one_of(("", "published")), metadata=pairs,
    )  # fmt: skip
    def merge_somehow(self, source, destination, strategy, squash, empty, message, metadata):
        self.merge(source, destination, strategy, squash, empty, message, metadata)

    @operation(6, source=expressions, destination=branches)
    def merge_simply(self, source, destination):
        self.merge(source, destination, "", False, False, "", {})

    def merge(self, source, destination, strategy, squash, empty, message, metadata):
        source = self.expression(source)
        fields = {
            "strategy": strategy, "squash_merge": squash, "allow_empty": empty, "message": message,
            "metadata": metadata,
        }  # fmt: skip
        answer = self.call("POST", "refs", source, "merge", destination, json_body=fields)

        def model():
            if re.search(r"\s", source) or not BRANCH.fullmatch(destination) or strategy == "bad":
                raise Refused(400)
            found = self.model.branch(destination)
            self.model.prepare(found)
            theirs, ours = self.model.commit_of(source), self.model.commits[found.head]
            base = self.model.merge_base(theirs, ours)
            if theirs.meta_range == base.meta_range and not empty:
                raise Refused(400)
            return theirs, ours, three_way(base.tree, theirs.tree, ours.tree, strategy)

        result, good = self.expect(model, answer, 200)
        if good:
            theirs, ours, tree = result
            self.made(
                answer[1]["reference"],
                parents=[ours.id] if squash else [ours.id, theirs.id],
                tree=tree,
                message=message or f"Merge '{source}' into '{destination}'",
                metadata={**metadata, ".lakefs.merge.strategy": strategy or "default"},
                generation=max(ours.generation, theirs.generation) + 1,
                name=destination,
            )
        elif answer[0] == 409:
            assert answer[1] == {"reference": ""}

    @operation(3, branch=odd_branches, ref=expressions, parent=one_of((0, 0, 0, 1, 1, 2, 3, -1)), empty=flags)
    def revert(self, branch, ref, parent, empty):
        ref = self.expression(ref)
        fields = {"ref": ref, "parent_number": parent, "allow_empty": empty}
        answer = self.call("POST", "branches", branch, "revert", json_body=fields)

        def model():
            if not BRANCH.fullmatch(branch) or parent < 0 or re.search(r"\s", ref):
                raise Refused(400)
            undone = self.model.commit_of(ref)
            if len(undone.parents) > 1 and parent == 0:
                raise Refused(409)
            if parent > len(undone.parents):
                raise Refused(400)
            found = self.model.branch(branch)
            self.model.prepare(found)
            before = self.model.commits[undone.parents[max(parent, 1) - 1]] if undone.parents else None
            if before is not None and before.meta_range == undone.meta_range and not empty:
                raise Refused(400)
            head = self.model.commits[found.head]
            tree = three_way(undone.tree, before.tree if before else {}, head.tree, "")
            # An equal content may have another id, by what led to it, and then there is a change.
            if tree == head.tree and not empty and answer[0] == 400:
                raise Refused(400)
            return found.head, tree

        result, good = self.expect(model, answer, 204)
        if good:
            made = self.call("GET", "branches", branch)[1]["commit_id"]
            head, tree = result
            self.made(made, parents=[head], tree=tree, message=f"Revert {ref}", metadata={}, name=branch)

    @operation(3, branch=odd_branches, ref=expressions, parent=one_of((None, None, None, 1, 1, 2, 3, 0)), plain=flags)
    def cherry_pick(self, branch, ref, parent, plain):
        ref = self.expression(ref)
        fields = {"ref": ref}
        if parent is not None:
            fields["parent_number"] = parent
        if not plain:
            fields["commit_overrides"] = {"message": "picked", "metadata": {"k": "picked"}}
        answer = self.call("POST", "branches", branch, "cherry-pick", json_body=fields)

        def model():
            if not BRANCH.fullmatch(branch) or parent == 0 or re.search(r"\s", ref):
                raise Refused(400)
            picked = self.model.commit_of(ref)
            if len(picked.parents) > 1 and parent is None:
                raise Refused(400)
            if (parent or 1) > len(picked.parents):
                raise Refused(400)
            found = self.model.branch(branch)
            self.model.prepare(found)
            before = self.model.commits[picked.parents[(parent or 1) - 1]]
            if picked.meta_range == before.meta_range:
                raise Refused(400)
            tree = three_way(before.tree, picked.tree, self.model.commits[found.head].tree, "")
            return found.head, picked, tree

        result, good = self.expect(model, answer, 201)
        if good:
            head, picked, tree = result
            metadata = {
                **(picked.metadata if plain else {"k": "picked"}),
                "cherry-pick-origin": picked.id, "cherry-pick-committer": "quickstart" if picked.parents else "",
            }  # fmt: skip
            message = picked.message if plain else "picked"
            self.made(answer[1]["id"], parents=[head], tree=tree, message=message, metadata=metadata, name=branch)

    @operation(
        branch=odd_branches,
        kind=one_of(("object", "common_prefix", "reset")),
        path=one_of(("", *PATHS)),
    )
    def reset(self, branch, kind, path):
        fields = {"type": kind, "path": path}
        answer = self.call("PUT", "branches", branch, json_body=fields)

        def model():
            if not BRANCH.fullmatch(branch) or (kind == "object" and not path):
                raise Refused(400)
            found = self.model.branch(branch)
            tree = self.model.commits[found.head].tree
            if kind == "reset":
                found.staged, found.sealed = {}, {}
                return
            # What a prefix takes back stays sealed below; but what was added is removed before.
            changed = [name for name in self.model.changes(found) if name == path or kind == "common_prefix"]
            changed = [name for name in changed if name.startswith(path)]
            found.staged |= {name: None for name in changed if name not in tree}
            if kind == "common_prefix":
                found.seal()
            found.staged |= {name: tree[name] for name in changed if name in tree}

        self.expect(model, answer, 204)

    @operation(branch=branches, ref=expressions)
    def hard_reset(self, branch, ref):
        ref = self.expression(ref)
        answer = self.call("PUT", "branches", branch, "hard_reset", ref=ref)

        def model():
            found = self.model.branch(branch)
            tree = self.model.commits[found.head].tree
            if any(tree.get(path) != kept for path, kept in found.sealed.items()):
                raise Refused(400)
            found.head = self.model.commit_of(ref).id

        self.expect(model, answer, 204)

    # differences

    @operation(4,
        left=expressions, right=expressions, direct=flags, prefix=one_of(PREFIXES),
        after=one_of(("", "", "", *PATHS)), delimiter=one_of(DELIMITERS), amount=amounts,
    )  # fmt: skip
    def diff(self, left, right, direct, prefix, after, delimiter, amount):
        left, right = self.expression(left), self.expression(right)
        query = {"prefix": prefix, "delimiter": delimiter, "amount": amount}
        query["type"] = "two_dot" if direct else "three_dot"
        answer = self.call("GET", "refs", left, "diff", right, after=after, **query)

        def model():
            if re.search(r"\s", left) or re.search(r"\s", right):
                raise Refused(400)
            if not direct:
                theirs, ours = self.model.commit_of(right), self.model.commit_of(left)
                return three_dot(self.model.merge_base(theirs, ours).tree, ours.tree, theirs.tree)
            first, _, modifier = self.model.resolve(left)
            second, branch, staged = self.model.resolve(right)
            if modifier == "$":
                raise Refused(400)
            tree = self.model.over(self.model.branches[branch]) if staged == "$" else self.model.commits[second].tree
            return compare(self.model.commits[first].tree, tree)

        # Which side is looked at first is not the same for the two types.
        found, good = self.either(model, answer, left, right)
        if good:
            self.check_differences(answer, found, after, "refs", left, "diff", right, **query)

    def either(self, model, answer, *expressions):
        """Like `expect`, for a call with two refs: the refusal of either will do."""
        statuses = set()
        for expression in expressions:
            try:
                self.model.commit_of(expression)
            except Refused as refused:
                statuses.add(refused.status)
        if len(statuses) == 2:
            assert answer[0] in statuses
            return None, False
        return self.expect(model, answer, 200)

    def check_differences(self, answer, found, after, *names, **query):
        amount, delimiter = query["amount"], query["delimiter"]
        lines = grouped(list(found), query["prefix"], after, delimiter, difference=True)
        if delimiter and amount is not None and 0 < amount < len(lines):
            # The next page starts behind all that begins with the last line, so pages do not add up.
            assert [shown["path"] for shown in answer[1]["results"]] == [line for line, _ in lines[:amount]]
            return
        for shown, (line, is_group) in self.pages(answer, lines, *names, **query):
            if is_group:
                assert shown == {"path": line, "path_type": "common_prefix", "type": "prefix_changed"}
            else:
                kind, size = found[line]
                assert (shown["path"], shown["path_type"], shown["type"]) == (line, "object", kind)
                if size is not None:
                    assert shown["size_bytes"] == size

    @operation(
        branch=odd_branches, prefix=one_of(PREFIXES), after=one_of(("", "", "", *PATHS)),
        delimiter=one_of(DELIMITERS), amount=amounts,
    )  # fmt: skip
    def uncommitted(self, branch, prefix, after, delimiter, amount):
        query = {"prefix": prefix, "delimiter": delimiter, "amount": amount}
        answer = self.call("GET", "branches", branch, "diff", after=after, **query)

        def model():
            changed = self.model.changes(self.model.branch(branch))
            return {path: (kind, 0 if kind == "removed" else size) for path, (kind, size) in changed.items()}

        found, good = self.expect(model, answer, 200)
        if good:
            self.check_differences(answer, found, after, "branches", branch, "diff", **query)

    @operation(left=expressions, right=expressions)
    def merge_base(self, left, right):
        left, right = self.expression(left), self.expression(right)
        answer = self.call("GET", "refs", left, "merge", right)

        def model():
            if re.search(r"\s", left) or re.search(r"\s", right):
                raise Refused(400)
            ours, theirs = self.model.commit_of(right), self.model.commit_of(left)
            return ours, theirs, self.model.merge_base(theirs, ours)

        result, good = self.expect(model, answer, 200)
        if good:
            ours, theirs, base = result
            assert answer[1] == {
                "source_commit_id": ours.id, "destination_commit_id": theirs.id, "base_commit_id": base.id,
            }  # fmt: skip

    @invariant()
    def heads_are_where_they_should_be(self):
        shown = self.call("GET", "branches")[1]["results"]
        expected = sorted(self.model.branches.items())
        assert shown == [{"id": name, "commit_id": branch.head} for name, branch in expected]


def _malformed(ref):
    """Whether an expression cannot be read, whatever exists."""
    model = Model()
    model.branches["x"] = Branch("0")
    try:
        model.resolve("x" + re.fullmatch(r"[^~^@$]*(.*)", ref).group(1))
    except Refused as refused:
        return refused.status == 400
    except KeyError:
        return False
    return False


@pytest.fixture(scope="module")
def server():
    with LocalLakeFS() as running:
        yield running


def test_the_server_does_as_the_model(server):
    class Tried(Machine):
        endpoint = server.endpoint

    run_state_machine_as_test(
        Tried,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS_AT_ONCE,
            derandomize=not STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
