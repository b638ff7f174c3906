"""All 134 operations against the specification: address, query, headers, body, result; and that nothing else exists."""

import inspect
import json
import re
from types import NoneType
from typing import Any
from urllib.parse import unquote, unquote_plus

import pytest
from pydantic import RootModel

from lakefs_ops.api.server import ServerTime
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.listing import Listing
from lakefs_ops.model import Entry, Model

# Arguments whose name is not the wire's in snake case: an upload's body and media type are arguments of their own, its
# metadata are headers; a body that is a list has no name on the wire; and `limit` means a listing's length here. A pick
# reads the picked commit first, unless it is told not to.
RENAMED = {
    ("uploadObject", "content"): None,
    ("uploadObject", "content_type"): None,
    ("uploadObject", "metadata"): None,
    ("setBranchProtectionRules", "rules"): None,
    ("logCommits", "limit_amount"): "limit",
    ("cherryPick", "carry_metadata"): None,
}

# What does not set a state, so that a repeat after an answer was lost does something else than the first.
ONCE_ONLY = {
    "CreateCommitRecord", "abortPresignMultipartUpload", "addGroupMembership", "attachPolicyToGroup",
    "attachPolicyToUser", "cherryPick", "commit", "completePresignMultipartUpload", "createBranch",
    "createCredentials", "createGroup", "createPolicy", "createPresignMultipartUpload", "createPullRequest",
    "createRepository", "createSymlinkFile", "createTag", "createUser", "createUserExternalPrincipal", "deleteBranch",
    "deleteCredentials", "deleteGroup", "deleteGroupMembership", "deleteObjects", "deletePolicy", "deleteRepository",
    "deleteTag", "deleteUser", "deleteUserExternalPrincipal", "detachPolicyFromGroup", "detachPolicyFromUser",
    "dumpRefs", "dumpSubmit", "hardResetBranch", "importStart", "internalDeleteBranchProtectionRule", "mergeIntoBranch",
    "mergePullRequest", "postStatsEvents", "prepareGarbageCollectionCommits", "prepareGarbageCollectionCommitsAsync",
    "prepareGarbageCollectionUncommitted", "resetBranch", "restoreRefs", "restoreSubmit", "revertBranch", "setup",
    "setupCommPrefs", "updateObjectUserMetadata",
}  # fmt: skip

# Answers that are typed although the specification has no model for them: they are in headers, or a bare list.
TYPED_BEYOND = {
    "headObject": "ObjectHead",
    "uploadPartCopy": "CopiedPart",
    "getBranchProtectionRules": "BranchProtectionRules",
    "internalGetBranchProtectionRules": "BranchProtectionRules",
}

# Answers that the specification does not have at all, of a further method for the same request.
UNSPECIFIED = {"healthCheck": {ServerTime}}

HARD = "a b+c%41/d?e#f&g=h~1^ü"


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).replace("-", "_").lower()


class Expected:
    """What the specification says of one operation's request."""

    def __init__(self, spec: Any, models: dict[str, Any], operation: str) -> None:
        self.spec, self.models = spec, models
        self.wire = spec.operations[operation]
        self.operation = operation
        self.parameters = {(p["in"], p["name"]): p for p in self.wire["parameters"]}
        content = self.wire.get("body", {}).get("content", {})
        self.body = content.get("application/json")

    def values(self, place: str, required: bool) -> dict[str, Any]:
        found = {
            name: self.spec.sample(p["schema"], name)
            for (where, name), p in self.parameters.items()
            if where == place and (p.get("required") or not required)
        }
        return {name: value for name, value in found.items() if (place, name) != ("query", "amount")}

    def body_value(self, required: bool) -> Any:
        if self.body is None:
            return None
        value = self.spec.sample(self.body, "body")
        if isinstance(value, list) or not required:
            return value
        properties = self.spec.properties(self.body)
        return {name: v for name, v in value.items() if properties[name].get("required")}

    def python(self, schema: Any, value: Any) -> Any:
        """The value as a caller would give it: models where the specification has models."""
        if isinstance(schema, dict) and schema.get("type") == "array":
            return tuple(self.python(schema["items"], v) for v in value)
        model = self.models.get(schema) if isinstance(schema, str) else None
        return model.model_validate(value) if hasattr(model, "model_validate") else value

    def arguments(self, required: bool) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for place in ("path", "query", "header"):
            given |= {snake(name): value for name, value in self.values(place, required).items()}
        body = self.body_value(required)
        if isinstance(body, list):
            given["rules"] = self.python(self.body, body)
        elif body is not None:
            properties = self.spec.properties(self.body)
            # An update's id is in the address as well.
            given |= {snake(n): self.python(properties[n]["schema"], v) for n, v in body.items()}
        if self.operation == "uploadObject":
            given["content"] = b"bytes"
        if "limit" in given and self.operation == "logCommits":
            given["limit_amount"] = given.pop("limit")
        return given


@pytest.fixture
def expected(spec: Any, models: dict[str, Any], operation: str) -> Expected:
    return Expected(spec, models, operation)


def python_names(method: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Arguments under the method's own names: ``class`` is ``class_``."""
    return {name if name in method.parameters else f"{name}_": v for name, v in given.items()}


@pytest.mark.parametrize("required", [True, False], ids=["required arguments", "all arguments"])
def test_the_request_is_that_of_the_specification(
    operation: str, expected: Expected, methods_of: dict[str, list[Any]], required: bool
) -> None:
    assert operation in methods_of, "no method for it"
    for method in methods_of[operation]:
        given = python_names(method, expected.arguments(required))
        call = method.call(**given)

        assert (call.operation, call.method, call.path) == (operation, expected.wire["method"], expected.wire["path"])
        names = {name: str(value) for name, value in expected.values("path", required).items()}
        assert dict(call.path_params) == names
        assert call.authenticated is not expected.wire.get("no_auth", False)

        wanted = expected.values("query", required)
        sent = dict(call.query)
        if method.is_listing:
            assert sent.pop("amount") == "1000"
        assert {k: on_the_wire(v) for k, v in wanted.items()} == {k: [v for n, v in call.query if n == k] for k in sent}

        headers = {k: v for k, v in call.headers.items() if k not in ("Content-Type", "Accept")}
        assert headers == expected.values("header", required)

        body = expected.body_value(required)
        if operation == "uploadObject":
            assert call.body == b"bytes"
        elif body is None:
            assert call.body is None
        else:
            assert json.loads(call.body) == body


@pytest.mark.parametrize("value", [None, "", 7, b"x", ["x"], {"x": "y"}], ids=repr)
def test_a_required_name_that_is_no_text_is_refused_before_sending(
    operation: str, expected: Expected, methods_of: dict[str, list[Any]], value: Any
) -> None:
    names = [*expected.values("path", required=True), *expected.values("query", required=True)]
    for method in methods_of[operation]:
        given = python_names(method, expected.arguments(required=True))
        for argument in python_names(method, {snake(name): None for name in names}):
            if isinstance(given[argument], str):
                with pytest.raises(InvalidArgument, match="must be a non-empty string"):
                    assert method.call(**given | {argument: value}).address


def on_the_wire(value: Any) -> list[str]:
    if isinstance(value, list):
        return value
    return [str(value).lower() if isinstance(value, bool) else str(value)]


def test_names_survive_the_double_decoding_of_the_server(
    operation: str, expected: Expected, methods_of: dict[str, list[Any]]
) -> None:
    for method in methods_of[operation]:
        given = python_names(method, expected.arguments(required=True))
        path = {snake(n): n for n in expected.values("path", required=True) if n != "partNumber"}
        address = method.call(**given | dict.fromkeys(path, HARD)).address
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", expected.wire["path"])
        found = re.fullmatch(pattern, address)
        assert found, address
        # lakeFS decodes an address once as such, and once more as if it were a query (recorded).
        assert {n: unquote(unquote_plus(found[n])) for n in path.values()} == dict.fromkeys(path.values(), HARD)


# What is required and a text in a query or a body, and yet no name of what is asked for; some are secrets.
NO_NAMES = {
    "access_key_id", "branches_meta_range_id", "checksum", "code", "commits_meta_range_id", "committer", "content_type",
    "key", "message", "metarange_id", "permission", "physical_address", "redirect_uri", "secret_access_key", "state",
    "tags_meta_range_id", "title", "type",
}  # fmt: skip


def test_messages_name_what_is_asked_for(operation: str, expected: Expected, methods_of: dict[str, list[Any]]) -> None:
    body = expected.body_value(required=True)
    values = expected.values("query", required=True) | (body if isinstance(body, dict) else {})
    names = {name for name, value in values.items() if isinstance(value, str) and name not in NO_NAMES}
    for method in methods_of[operation]:
        call = method.call(**python_names(method, expected.arguments(required=True)))
        assert call.context.keys() >= names
        assert not (call.context.keys() - call.path_params.keys()) & NO_NAMES
        assert all(repr(call.context[name]) in str(call) for name in names)


def test_queries_survive(operation: str, expected: Expected, methods_of: dict[str, list[Any]]) -> None:
    texts = [n for (where, n), p in expected.parameters.items() if where == "query" and p["schema"] == "string"]
    for method in methods_of[operation]:
        for name in texts:
            given = python_names(method, expected.arguments(required=True) | {snake(name): "a&b=c %+ü/.."})
            assert (name, "a&b=c %+ü/..") in method.call(**given).query


def test_the_result_is_that_of_the_specification(
    operation: str, expected: Expected, models: dict[str, Any], methods_of: dict[str, list[Any]]
) -> None:
    contents = [r for status, r in expected.wire["responses"].items() if status.startswith("2") and r]
    wanted: set[Any] = {NoneType} if not contents else set()
    for media, schema in ((m, s) for content in contents for m, s in content.items()):
        if media == "application/json":
            wanted.add(models[TYPED_BEYOND[operation]] if isinstance(schema, dict) else models[schema])
        else:
            wanted.add(bytes if isinstance(schema, dict) else str)
    if not contents and operation in TYPED_BEYOND:
        wanted = {models[TYPED_BEYOND[operation]]}
    given = expected.arguments(required=True)
    results = {m.call(**python_names(m, given)).result for m in methods_of[operation]}
    assert results == wanted | UNSPECIFIED.get(operation, set())


def test_only_what_sets_a_state_is_repeated(
    operation: str, expected: Expected, methods_of: dict[str, list[Any]]
) -> None:
    for method in methods_of[operation]:
        call = method.call(**python_names(method, expected.arguments(required=True)))
        assert call.repeatable is (operation not in ONCE_ONLY)


def test_conditions_make_a_write_one_that_is_not_repeated(methods_of: dict[str, list[Any]]) -> None:
    link, protect = methods_of["linkPhysicalAddress"][0], methods_of["setBranchProtectionRules"][0]
    upload = methods_of["uploadObject"][0]
    place = {"repository": "r", "branch": "b", "path": "p"}
    staged = {"staging": {}, "checksum": "c", "size_bytes": 1}
    assert not link.call(**place, **staged, if_none_match="*").repeatable
    assert not protect.call(repository="r", rules=[], if_match="e").repeatable
    assert not upload.call(**place, content=b"", if_none_match="*").repeatable


# nothing else ------------------------------------------------------------------------------------------


def test_no_method_is_beyond_the_specification(spec: Any, methods: list[Any]) -> None:
    assert {m.operation for m in methods} == set(spec.operations)


def test_an_operation_has_one_method_unless_it_has_two_forms(methods_of: dict[str, list[Any]]) -> None:
    several = {operation: sorted(m.name for m in found) for operation, found in methods_of.items() if len(found) > 1}
    assert several == {
        "getObject": ["get", "open"],
        "getUsageReportSummary": ["usage_report", "usage_report_text"],
        "healthCheck": ["health", "time"],
    }


def test_no_argument_is_beyond_the_specification(
    operation: str, expected: Expected, methods_of: dict[str, list[Any]]
) -> None:
    wire = {snake(name) for _, name in expected.parameters}
    if isinstance(expected.body, str) or expected.operation == "internalDeleteBranchProtectionRule":
        wire |= {snake(name) for name in expected.spec.properties(expected.body)}
    for method in methods_of[operation]:
        for name in method.parameters:
            if (operation, name) in RENAMED:
                assert RENAMED[operation, name] in {None, *wire}
            elif name != "limit" or not method.is_listing:
                assert name.rstrip("_") in wire


def test_every_listing_pages(listing: str, methods_of: dict[str, list[Any]]) -> None:
    assert all(method.is_listing for method in methods_of[listing])
    assert all({"after", "limit"} <= method.parameters.keys() for method in methods_of[listing])


def test_names_are_positional_and_the_rest_is_by_name(methods: list[Any], spec: Any) -> None:
    for method in methods:
        names = {snake(p["name"]) for p in spec.operations[method.operation]["parameters"] if p["in"] == "path"}
        positional = [n for n, p in method.parameters.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        assert positional[: len(names)] == sorted(names, key=positional.index), method
        further = set(positional[len(names) :])
        assert further <= {"path", "dest_path", "content", "paths", "rules", "events", "id", "task_id", "principal_id"}


def test_documented(methods: list[Any]) -> None:
    for method in methods:
        where = f"{method.group}.{method.name}"
        assert method.operation, f"{where} does not name its operation"
        arguments = [n for n in method.parameters if f"\n    {n}: " not in method.doc + method.common_doc]
        assert not arguments, f"{where} does not explain {arguments}"


def test_common_parameters_are_shared(methods: list[Any]) -> None:
    for common, group in {(method.common_doc, method.group) for method in methods}:
        used = [name for method in methods if method.group == group for name in method.parameters]
        rare = [name for name in re.findall(r"^    (\w+): ", common, re.MULTILINE) if used.count(name) < 2]
        assert not rare, f"{group}: {rare} are parameters of one method, or of none"


# models ------------------------------------------------------------------------------------------------


def test_every_model_is_there_with_its_fields(schema: str, spec: Any, models: dict[str, Any]) -> None:
    model, plain = models.get(schema), spec.resolve(schema)
    assert model is not None, "no such model"
    sample = spec.sample(schema)
    if not hasattr(model, "model_validate"):
        container = {"object": dict, "array": list}[plain["type"]]
        assert model.__origin__ is container, "a mapping or a list is a plain one"
        return
    value = model.model_validate_json(json.dumps(sample))
    if "properties" not in plain:
        assert value.root == sample
        return
    assert not value.model_extra, "the specification has a field that the model does not declare"
    dump = (
        json.loads(value.model_dump_json(by_alias=True)) if hasattr(value, "model_fields_set") else value.model_dump()
    )
    assert dump == sample


def test_no_model_is_beyond_the_specification(spec: Any, models: dict[str, Any]) -> None:
    beyond = {n for n, m in models.items() if n not in spec.schemas and issubclass(m, Model | Entry | RootModel)}
    assert {n for n in beyond if "[" not in n} == {*TYPED_BEYOND.values(), "Page", "_RuleList"}


def test_a_listing_is_not_sent_before_it_is_read(recorder: Any) -> None:
    from lakefs_ops.api.tags import Tags

    listing = Tags(recorder).list("lake")
    assert isinstance(listing, Listing)
    assert recorder.calls == []
