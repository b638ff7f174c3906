"""Models: frozen, what is unknown is kept, dates are aware, repr helps and hides, round trips; what they weigh."""

import copy
import json
import pickle
import tracemalloc
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from lakefs_ops import errors
from lakefs_ops.api.actions import ActionRun, HookRun
from lakefs_ops.api.branches import CommitOverrides, RevertCreation
from lakefs_ops.api.common import Commit, CredentialsWithSecret, Diff, ObjectStats, Ref
from lakefs_ops.api.objects import ObjectHead, ObjectStatsList
from lakefs_ops.api.repositories import BranchProtectionRules
from lakefs_ops.api.staging import StagingLocation
from lakefs_ops.call import Call, headers, query
from lakefs_ops.model import Entry, Model, moment, utc

OBJECT = {
    "path": "a/b.csv",
    "path_type": "object",
    "physical_address": "s3://bucket/data/x",
    "checksum": "5d41402abc4b2a76b9719d911017c592",
    "size_bytes": 5,
    "mtime": 1767225600,
    "metadata": {"k": "v"},
    "content_type": "text/csv",
}
COMMIT = {
    "id": "0" * 64, "parents": [], "committer": "me", "message": "", "creation_date": 1767225600, "meta_range_id": "",
}  # fmt: skip
NEWER = [
    (Ref, {"id": "main", "commit_id": "0"}),
    (ObjectStats, OBJECT),
    (Diff, {"type": "t", "path": "p", "path_type": "o"}),
]


@pytest.fixture(params=NEWER, ids=lambda pair: pair[0].__name__)
def known(request: pytest.FixtureRequest) -> tuple[Any, dict[str, Any]]:
    return request.param  # type: ignore[no-any-return]


def test_unknown_fields_are_kept(known: tuple[Any, dict[str, Any]]) -> None:
    model, fields = known
    newer = fields | {"novel": {"a": [1, 2]}, "zz": None}
    value = model.model_validate_json(json.dumps(newer))
    assert value.model_extra == {"novel": {"a": [1, 2]}, "zz": None}
    assert json.loads(value.model_dump_json(exclude_none=True))["novel"] == {"a": [1, 2]}
    assert model.model_validate_json(value.model_dump_json()) == value
    assert pickle.loads(pickle.dumps(value)).model_extra["novel"] == {"a": [1, 2]}
    assert "novel" in repr(value)


def test_models_are_frozen(known: tuple[Any, dict[str, Any]]) -> None:
    model, fields = known
    value = model.model_validate(fields)
    for name in (next(iter(fields)), "novel"):
        with pytest.raises((ValidationError, FrozenInstanceError, AttributeError, TypeError)):
            setattr(value, name, "x")


def test_models_compare_pickle_and_round_trip(known: tuple[Any, dict[str, Any]]) -> None:
    model, fields = known
    value, same = model.model_validate(fields), model.model_validate_json(json.dumps(fields))
    assert value == same
    assert pickle.loads(pickle.dumps(value)) == value
    assert model.model_validate_json(value.model_dump_json()) == value
    assert model.model_validate(value.model_dump()) == value
    assert model(**fields) == value
    assert value.model_extra == {}


def test_every_model_round_trips(models: dict[str, Any], spec: Any) -> None:
    """As JSON and pickled, of a newer server too: with a field more, and values that no enumeration has."""
    for name in sorted(models.keys() & spec.schemas.keys()):
        model = models[name]
        if not hasattr(model, "model_validate"):
            continue
        novel = "a text" if "additionalProperties" in spec.resolve(name) else {"a": [1, None]}
        sample = spec.sample(name) | {"novel": novel}
        enums = {k for k, p in spec.properties(name).items() if "enum" in spec.resolve(p["schema"])}
        newer = sample | dict.fromkeys(enums, "unheard-of")
        value = model.model_validate_json(json.dumps(newer))
        assert model.model_validate_json(value.model_dump_json()) == value, name
        assert model.model_validate_json(value.model_dump_json(exclude_none=True)) == value, name
        assert pickle.loads(pickle.dumps(value)) == value, name
        assert copy.deepcopy(value) == value, name
        assert json.loads(value.model_dump_json())["novel"] == novel, name
        assert repr(value).startswith(name), name


def test_a_missing_or_wrong_field_is_an_error(known: tuple[Any, dict[str, Any]]) -> None:
    model, fields = known
    first = next(iter(fields))
    for wrong in (
        {k: v for k, v in fields.items() if k != first},
        fields | {first: {}},
        fields | {first: {}, "new": 1},
    ):
        with pytest.raises(ValidationError):
            model.model_validate_json(json.dumps(wrong))
    with pytest.raises(ValidationError):
        model.model_validate_json("[]")


def test_a_model_that_is_made_wrong_says_where_and_repeats_no_secret() -> None:
    fields: dict[str, Any] = {"access_key_id": "key", "secret_access_key": ["top secret"]}
    with pytest.raises(
        errors.InvalidArgument, match=r"CredentialsWithSecret: secret_access_key: .*; creation_date: "
    ) as caught:
        CredentialsWithSecret(**fields)
    assert "top secret" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value}"
    assert caught.value.__suppress_context__


def test_a_newer_page_keeps_what_it_says() -> None:
    pagination = {"has_more": False, "next_offset": "", "results": 2, "max_per_page": 1000, "total": 2}
    page = {"pagination": pagination, "results": [OBJECT, OBJECT | {"novel": 1}], "took": "3ms"}
    value = ObjectStatsList.model_validate_json(json.dumps(page))
    assert [entry.model_extra for entry in value.results] == [{}, {"novel": 1}]
    assert json.loads(value.model_dump_json(exclude_none=True)) == page


def test_unknown_values_of_enumerations_are_taken() -> None:
    fields = {
        "hook_run_id": "0",
        "action": "a",
        "hook_id": "h",
        "start_time": "0001-01-01T00:00:00Z",
        "status": "skipped",
    }
    run = HookRun.model_validate(fields)
    assert run.status == "skipped"
    assert run.started == datetime(1, 1, 1, tzinfo=UTC)
    assert run.ended is None
    assert Diff(type="moved", path="p", path_type="symlink").type == "moved"


def test_dates_are_aware() -> None:
    assert Commit.model_validate(COMMIT).created == datetime(2026, 1, 1, tzinfo=UTC)
    assert ObjectStats.model_validate(OBJECT).modified == datetime(2026, 1, 1, tzinfo=UTC)
    run = ActionRun(
        run_id="r", branch="main", start_time="2026-01-02T03:04:05.678901234Z", end_time="2026-01-02T05:04:05+02:00",
        event_type="pre-merge", status="failed", commit_id="",
    )  # fmt: skip
    assert run.started == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert run.ended == run.started - timedelta(microseconds=678901)


def test_every_date_of_every_model_has_a_property(models: dict[str, Any], spec: Any) -> None:
    """What the wire has as seconds or as a text is there as a ``datetime`` as well."""
    sent = {"CommitCreation", "CommitRecordCreation", "Policy", "ObjectStageCreation", "StagingMetadata"}
    for name, model in models.items():
        if name not in spec.schemas or name in sent or not hasattr(model, "model_validate"):
            continue
        sample = spec.sample(name)
        dates = [k for k in sample if k.endswith(("_date", "_time", "mtime", "_expiry", "_expiration"))]
        value = model.model_validate(sample)
        found = [p for p in dir(model) if isinstance(getattr(model, p, None), property) and p in PROPERTIES]
        assert len(found) == len(dates), (name, dates, found)
        assert all(getattr(value, p).tzinfo is not None for p in found)


PROPERTIES = {"created", "modified", "started", "ended", "updated", "expires", "closed"}


@pytest.mark.parametrize("seconds", [1 << 62, -(1 << 62), 1e300])
def test_a_date_beyond_python_is_an_error_of_ours(seconds: float) -> None:
    with pytest.raises(errors.InvalidArgument, match="must be a date"):
        utc(seconds)


def test_a_time_that_is_none_is_an_error_of_ours() -> None:
    assert moment("2026-01-02T03:04:05").tzinfo is UTC
    with pytest.raises(errors.InvalidArgument, match="must be a time"):
        moment("yesterday")


# repr --------------------------------------------------------------------------------------------------


def test_repr_shows_what_is_there() -> None:
    assert repr(Ref(id="main", commit_id="0")) == "Ref(id='main', commit_id='0')"
    assert repr(Diff(type="added", path="p", path_type="object")) == "Diff(type='added', path='p', path_type='object')"


def test_repr_shows_no_secret(models: dict[str, Any], spec: Any) -> None:
    """Secrets, tokens and presigned addresses stay out of every model's repr, nested ones too."""
    hidden = ("secret_access_key-value", "token-value", "presigned_url", "identityRequest-value", "code-value")
    for name, model in models.items():
        if name in spec.schemas and hasattr(model, "model_validate") and name not in HARMLESS:
            shown = repr(model.model_validate(spec.sample(name)))
            assert not [secret for secret in hidden if f"{secret}-value" in shown or f"'{secret}'" in shown], shown
    assert "hush" not in repr(CredentialsWithSecret(access_key_id="a", secret_access_key="hush", creation_date=1))
    assert "hush" not in repr(StagingLocation(physical_address="s3://b/x", presigned_url="https://s3?sig=hush"))
    presigned = ObjectStats.model_validate(OBJECT | {"physical_address": "https://s3/b/x?X-Amz-Signature=hush"})
    assert "hush" not in repr(presigned)
    assert "https://s3/b/x" in repr(presigned)


# A token to go on with, and one of a staging area: neither opens anything.
HARMLESS = {"PrepareGCUncommittedRequest", "PrepareGCUncommittedResponse", "UpdateToken"}


# what is sent ------------------------------------------------------------------------------------------


def test_a_body_leaves_out_what_is_none_and_nests() -> None:
    body = RevertCreation.body(ref="main", parent_number=0, commit_overrides=CommitOverrides(message="m"), force=None)
    assert json.loads(body) == {"ref": "main", "parent_number": 0, "commit_overrides": {"message": "m"}}
    empty = RevertCreation.body(ref="", parent_number=0, commit_overrides=CommitOverrides(metadata={}), force=False)
    assert json.loads(empty) == {"ref": "", "parent_number": 0, "commit_overrides": {"metadata": {}}, "force": False}


def test_a_body_of_wrong_types_is_refused_by_name() -> None:
    with pytest.raises(errors.InvalidArgument, match=r"RevertCreation: ref: .*valid string; parent_number: .*integer"):
        RevertCreation.body(ref=3, parent_number="many")


def test_half_a_character_is_refused_everywhere() -> None:
    half = "\ud800"
    with pytest.raises(errors.InvalidArgument):
        RevertCreation.body(ref=half, parent_number=0)
    with pytest.raises(errors.InvalidArgument, match="Unicode"):
        query(path=half)
    with pytest.raises(errors.InvalidArgument, match="Unicode"):
        query(objects=["fine", half])
    with pytest.raises(errors.InvalidArgument, match="Unicode"):
        headers({"x-lakefs-meta-k": half})
    call = Call("getTag", "GET", "/tags/{tag}", {"tag": half}, Ref)
    with pytest.raises(errors.InvalidArgument, match="Unicode"):
        assert call.address


@pytest.mark.parametrize("value", ["a\r\nEvil: 1", "a\nb", "a\x00b", "a\x7f"])
def test_headers_cannot_be_smuggled(value: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="control characters"):
        headers({"If-Match": value})


def test_headers_go_as_utf8() -> None:
    assert headers({"a": "ü\t", "b": None}) == {"a": "ü\t".encode().decode("latin-1")}


@pytest.mark.parametrize("name", ["", ".", "..", "a/../b"])
def test_names_stay_in_their_place(name: str) -> None:
    call = Call("getTag", "GET", "/tags/{tag}", {"tag": name}, Ref)
    if not name:
        with pytest.raises(errors.InvalidArgument, match="non-empty"):
            assert call.address
    else:
        assert call.address.count("/") == 2
        assert ".." not in call.address.split("/")


# headers as results ------------------------------------------------------------------------------------


def test_a_head_is_read_from_headers() -> None:
    head = ObjectHead.from_answer(
        b"", {"ETag": '"abc"', "Content-Length": "5", "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
    )
    assert (head.etag, head.size_bytes, head.content_type) == ("abc", 5, None)
    assert head.modified == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert ObjectHead.from_answer(b"", {"Last-Modified": "yesterday"}).modified is None


def test_protection_rules_come_with_their_state() -> None:
    rules = BranchProtectionRules.from_answer(b'[{"pattern": "main"}]', {"ETag": "abc"})
    assert ([rule.pattern for rule in rules.rules], rules.etag) == (["main"], "abc")


# the weight of a listing -------------------------------------------------------------------------------


def test_an_entry_has_no_dictionary_and_weighs_little() -> None:
    """A BaseModel weighs some 1,500 bytes an object; the bound is what keeps 100,000 of them below 60 MB."""
    pagination = {"has_more": False, "next_offset": "", "results": 1000, "max_per_page": 1000}
    results = [OBJECT | {"path": f"data/{n:06}", "checksum": f"{n:032x}", "mtime": n << 20} for n in range(1000)]
    body = json.dumps({"pagination": pagination, "results": results}).encode()
    ObjectStatsList.from_answer(body, {})
    tracemalloc.start()
    page = ObjectStatsList.from_answer(body, {})
    weight = tracemalloc.get_traced_memory()[0] / 1000
    tracemalloc.stop()
    assert not hasattr(page.results[0], "__dict__")
    assert weight < 800, f"{weight:.0f} bytes an object"


def test_bases_have_the_same_methods() -> None:
    """Whoever reads an answer need not know which of the two it is."""
    common = {n for n in dir(Entry) if n.startswith("model_")} | {"from_answer"}
    assert common <= set(dir(Model))
