"""What the recordings taught: faults and habits of lakeFS 1.84 that the client copes with."""

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest

from lakefs_ops import errors
from lakefs_ops.api.branches import CommitOverrides
from lakefs_ops.call import Call, query
from lakefs_ops.uri import LakeFSURI, Links

JSON = {"content-type": "application/json"}

REFS_IN: dict[str, dict[str, Any]] = {
    "logCommits": {"ref": "main", "after": None, "stop_at": None},
    "diffRefs": {"left_ref": "main", "right_ref": "main"},
    "mergeIntoBranch": {"source_ref": "dev", "destination_branch": "main"},
    "findMergeBase": {"source_ref": "dev", "destination_branch": "main"},
    "getCommit": {"commit_id": "main"},
    "createBranch": {"source": "main"},
    "hardResetBranch": {"ref": "main"},
    "revertBranch": {"ref": "main"},
    "cherryPick": {"ref": "main"},
    "createTag": {"ref": "main"},
    "getObject": {"ref": "main"},
    "headObject": {"ref": "main"},
    "statObject": {"ref": "main"},
    "listObjects": {"ref": "main"},
    "getUnderlyingProperties": {"ref": "main"},
    "copyObject": {"src_ref": None},
}
BESIDE = {
    "repository": "lake",
    "branch": "main",
    "path": "a",
    "name": "new",
    "id": "new",
    "dest_path": "b",
    "src_path": "a",
}


@pytest.mark.parametrize("backwards", ["main^-1", "main~-1", "main~1^-2"])
@pytest.mark.parametrize(("asked", "argument"), [(o, a) for o, refs in REFS_IN.items() for a in refs])
def test_refs_that_count_backwards_are_not_sent(
    asked: str, argument: str, backwards: str, methods_of: dict[str, list[Any]]
) -> None:
    """At ``x^-1`` the server drops the connection without an answer."""
    for method in methods_of[asked]:
        needed = {n for n, p in method.parameters.items() if p.default is p.empty}
        given = {n: v for n, v in (BESIDE | REFS_IN[asked]).items() if n in needed}
        assert method.call(**given).address
        with pytest.raises(errors.InvalidArgument, match="negative number"):
            assert method.call(**given | {argument: backwards}).address


def test_every_ref_of_the_specification_is_watched(spec: Any) -> None:
    """The table above misses none: wherever the specification has a ref, by its name."""
    named = {"ref", "source", "commitId", "sourceRef", "leftRef", "rightRef", "src_ref", "stop_at"}
    found = set()
    for operation, wire in spec.operations.items():
        body = wire.get("body", {}).get("content", {}).get("application/json")
        properties = set(spec.properties(body)) if isinstance(body, str) else set()
        if named & ({p["name"] for p in wire["parameters"]} | properties):
            found.add(operation)
    assert found == set(REFS_IN)


def test_a_tag_may_look_like_a_modifier(client: Any, player: Any) -> None:
    """Such tags can be made, listed and deleted, but not used as refs."""
    player.answers.append((200, JSON, b'{"id": "q~-1", "commit_id": "0"}'))
    assert client.tags.get("lake", "q~-1").id == "q~-1"


@pytest.mark.parametrize(
    ("name", "wire"), [("a+b", "a%2Bb"), ("%41", "%252541"), ("%+", "%2525%252B"), ("a b", "a%20b")]
)
def test_plus_and_percent_are_quoted_for_a_server_that_decodes_twice(
    client: Any, player: Any, name: str, wire: str
) -> None:
    player.answers.append((200, JSON, b'{"id": "x", "commit_id": "0"}'))
    client.tags.get("lake", name)
    assert player.asked[-1].target == f"/api/v1/repositories/lake/tags/{wire}"


def test_deleting_many_refuses_an_empty_path(recorder: Any, methods_of: dict[str, list[Any]]) -> None:
    """The server would delete nothing, and say that all went well."""
    with pytest.raises(errors.InvalidArgument, match=r"paths\[1\] is empty"):
        methods_of["deleteObjects"][0].call(repository="lake", branch="main", paths=iter(["a", ""]))


def test_deleting_many_takes_no_single_text(recorder: Any, methods_of: dict[str, list[Any]]) -> None:
    """Each of its characters would be deleted."""
    with pytest.raises(errors.InvalidArgument, match="a list of paths"):
        methods_of["deleteObjects"][0].call(repository="lake", branch="main", paths="abc")
    assert recorder.calls == []


def test_deleting_many_hands_back_what_failed(client: Any, player: Any) -> None:
    said = {"errors": [{"path": "a", "status_code": 403, "message": "cannot write to protected branch"}]}
    player.answers.append((200, JSON, json.dumps(said).encode()))
    (error,) = client.objects.delete_many("lake", "main", ["a", "b"]).errors
    assert (error.path, error.status_code, error.message) == ("a", 403, "cannot write to protected branch")


def test_two_json_values_in_one_body(client: Any, player: Any) -> None:
    body = b'{"message":"error authenticating request"}\n{"errors":[{"message":"Unauthorized","path":"b"}]}\n'
    player.answers.append((401, JSON, body))
    with pytest.raises(errors.AuthenticationFailed) as refusal:
        client.objects.delete_many("lake", "main", ["b"])
    assert refusal.value.reason == "error authenticating request"

    body = b'{"message":"local adapter presigned URL: operation not supported"}\n{"run_id":""}\n'
    player.answers.append((400, JSON, body))
    with pytest.raises(errors.NotSupported):
        client.garbage_collection.prepare_commits("lake")


def test_plain_text_instead_of_json(client: Any, player: Any) -> None:
    text = b"Invalid format for parameter If-Match: parameter 'If-Match' is empty, can't bind its value\n"
    player.answers.append((400, {"content-type": "text/plain; charset=utf-8"}, text))
    with pytest.raises(errors.BadRequest) as refusal:
        client.repositories.set_branch_protection_rules("lake", [], if_match=" ")
    assert refusal.value.reason == text.decode().strip()


def test_an_empty_condition_on_protection_rules_is_refused(recorder: Any) -> None:
    """It reads as "only if there are none", which the server cannot be asked."""
    from lakefs_ops.api.repositories import Repositories

    with pytest.raises(errors.InvalidArgument, match="if_match is empty"):
        Repositories(recorder).set_branch_protection_rules("lake", [], if_match="")
    assert recorder.calls == []


@pytest.mark.parametrize("body", [b'{"reference":""}', b'{"message":"conflict found"}', b"", b"{}"])
def test_a_conflict_with_and_without_words(client: Any, player: Any, body: bytes) -> None:
    player.answers += [(409, JSON, body), (404, JSON, b'{"message":"not found"}')]
    with pytest.raises(errors.MergeConflict, match="compare the two refs") as refusal:
        client.refs.merge("lake", "dev", "main")
    assert refusal.value.paths == ()
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None


def test_a_long_diff_is_searched_for_conflicts_up_to_a_limit(client: Any, player: Any) -> None:
    def answer(request: Any) -> tuple[int, dict[str, str], bytes]:
        if request.method == "POST":
            return 409, JSON, b'{"reference":""}'
        query = dict(parse_qsl(request.target.partition("?")[2]))
        start, amount = int(query.get("after", -1)) + 1, int(query["amount"])
        entries = [
            {"type": "added" if n % 500 else "conflict", "path": f"{n}", "path_type": "object"}
            for n in range(start, start + amount)
        ]
        more = {"has_more": True, "next_offset": entries[-1]["path"], "results": amount, "max_per_page": 1000}
        return 200, JSON, json.dumps({"pagination": more, "results": entries}).encode()

    player.always = answer
    with pytest.raises(errors.MergeConflict, match=r"both changed 0, 500, .* 4500 and 10 more;") as refusal:
        client.refs.merge("lake", "dev", "main")
    assert refusal.value.paths == tuple(str(n) for n in range(0, 10_000, 500))
    assert len(player.asked) == 1 + 10


@pytest.mark.parametrize("status", [200, 201, 204])
def test_another_success_than_the_specified_one(client: Any, player: Any, status: int) -> None:
    """Setting user metadata answers 204 where 201 is specified, and a newer server may mend that."""
    player.answers.append((status, {}, b""))
    assert client.objects.update_user_metadata("lake", "main", "a", set={"k": "v"}) is None


def test_rules_without_branches_come_as_null(client: Any, player: Any) -> None:
    player.answers.append((200, JSON, b'{"branches":null,"default_retention_days":7}'))
    assert client.garbage_collection.get_rules("lake").branches is None


def test_an_object_that_is_here_already_is_not_an_empty_one(client: Any, player: Any) -> None:
    for read in (client.objects.get, client.objects.open):
        player.answers.append((304, {}, b""))
        with pytest.raises(errors.NotModified):
            read("lake", "main", "a", if_none_match='"5d41"')


def test_a_stream_reads_the_same_bytes(client: Any, player: Any) -> None:
    player.answers.append((200, {"etag": '"x"'}, b"0123456789"))
    with client.objects.open("lake", "main", "a") as stream:
        assert stream.read(4) + b"".join(stream) == b"0123456789"


@pytest.mark.parametrize("key", ["", "a b", "ü", "a:b", "a\nb"])
def test_metadata_that_cannot_travel_in_a_header_is_refused(recorder: Any, key: str) -> None:
    from lakefs_ops.api.objects import Objects

    with pytest.raises(errors.InvalidArgument):
        Objects(recorder).upload("lake", "main", "a", b"", metadata={key: "v"})


PICKED = {
    "id": "7" * 64, "parents": [], "committer": "c", "message": "m", "creation_date": 1, "meta_range_id": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "metadata", "sent"),
    [
        (None, {"k": "v"}, {"metadata": {"k": "v"}}),
        (CommitOverrides(message="new"), {"k": "v"}, {"message": "new", "metadata": {"k": "v"}}),
        (CommitOverrides(message="new"), {}, {"message": "new"}),
        (None, None, None),
    ],
)
def test_a_pick_carries_the_metadata_of_the_picked_commit(
    client: Any, player: Any, overrides: CommitOverrides | None, metadata: Any, sent: Any
) -> None:
    """Without them the server spoils its cached copy of that commit."""
    picked = json.dumps(PICKED | {"metadata": metadata}).encode()
    player.answers += [(200, JSON, picked), (201, JSON, picked)]
    client.branches.cherry_pick("lake", "main", ref="dev", commit_overrides=overrides)
    read, pick = player.asked
    assert read.target == "/api/v1/repositories/lake/commits/dev"
    assert json.loads(pick.body) == {"ref": PICKED["id"]} | ({"commit_overrides": sent} if sent else {})


def test_a_pick_may_leave_the_metadata_to_the_server(client: Any, player: Any) -> None:
    player.answers.append((201, JSON, json.dumps(PICKED).encode()))
    client.branches.cherry_pick("lake", "main", ref="dev", carry_metadata=False)
    (asked,) = player.asked
    assert json.loads(asked.body) == {"ref": "dev"}


def test_a_pick_with_metadata_of_its_own_reads_nothing(client: Any, player: Any) -> None:
    player.answers.append((409, JSON, b'{"message":"update branch: conflict found"}'))
    with pytest.raises(errors.MergeConflict):
        client.branches.cherry_pick("lake", "main", ref="x", commit_overrides=CommitOverrides(metadata={"k": "v"}))
    assert json.loads(player.asked[-1].body) == {"ref": "x", "commit_overrides": {"metadata": {"k": "v"}}}


def test_a_call_names_what_it_is_about() -> None:
    call = Call("getBranch", "GET", "/b/{branch}", {"repository": "lake", "branch": "main"}, str)
    assert str(call) == "getBranch(repository 'lake', branch 'main')"


def test_an_error_names_what_is_in_the_body_and_in_the_query(client: Any, player: Any) -> None:
    player.answers.append((404, JSON, b'{"message":"source reference \'dev\': not found"}'))
    with pytest.raises(
        errors.RefNotFound, match=r"createBranch\(repository 'lake', name 'new', source 'dev'\)"
    ) as told:
        client.branches.create("lake", name="new", source="dev")
    assert told.value.context == {"repository": "lake", "name": "new", "source": "dev"}
    player.answers.append((404, JSON, b'{"message":"not found"}'))
    with pytest.raises(errors.ObjectNotFound, match=r"copyObject\(.* dest_path 'b', src_path 'a'\)"):
        client.objects.copy("lake", "main", "b", src_path="a")
    player.answers.append((400, JSON, b'{"message":"no"}'))
    with pytest.raises(errors.BadRequest) as told:
        client.objects.upload("lake", "main", "a.json", b'{"name": "hush"}', content_type="application/json")
    assert told.value.context == {"repository": "lake", "branch": "main", "path": "a.json"}


@pytest.mark.parametrize("value", [None, 7, b"lake", ["lake"]])
def test_names_in_uris_and_links_must_be_text(value: Any) -> None:
    links = Links("http://lake")
    for use in (
        lambda: LakeFSURI(value),
        lambda: LakeFSURI("lake", value),
        lambda: LakeFSURI("lake", "main", value),
        lambda: LakeFSURI.parse(value),
        lambda: links.repository(value),
        lambda: links.commit("lake", value),
        lambda: links.objects("lake", value),
    ):
        with pytest.raises(errors.InvalidArgument, match="must be a string"):
            use()


@pytest.mark.parametrize("value", [b"x", 2.5, {"x": 1}, [7], object()])
def test_other_query_parameters_must_have_a_type_of_the_api(value: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="prefix must be"):
        query(prefix=value) if not isinstance(value, dict) else query(prefix=[value])
