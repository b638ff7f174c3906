"""The error tree: each recorded refusal has its class; all errors cross process borders; no secret is in a message."""

import copy
import inspect
import json
import pickle
import re
import traceback
from pathlib import Path
from typing import Any

import pytest

from lakefs_ops import errors

# What lakeFS 1.84 says, and which error that is: status, the text as a whole (a regular expression), the operations
# that it is for (all when empty), the class. The first row that fits counts, and each row is there for an answer.
TABLE: list[tuple[int, str, str, type[errors.ApiError]]] = [
    (304, "", "getObject", errors.NotModified),
    (400, "failed to create repository: .*: storage namespace already in use", "", errors.StorageNamespaceInUse),
    (400, "(commit: |update branch( \\w+)?: )no changes", "", errors.NoChanges),
    (400, "(\\w+: )?uncommitted changes \\(dirty branch\\)", "", errors.DirtyBranch),
    (400, "cannot use source MetaRange on a branch with uncommitted changes", "commit", errors.DirtyBranch),
    (400, "(local adapter presigned URL: )?operation not supported", "", errors.NotSupported),
    (400, "bad pull request status", "mergePullRequest", errors.PullRequestNotOpen),
    (400, ".*", "", errors.BadRequest),
    (401, ".*", "", errors.AuthenticationFailed),
    (403, "(cannot (write|commit) to )?protected branch", "", errors.ProtectedBranch),
    (403, "(error populating sample repository: )?read-only repository", "", errors.ReadOnlyRepository),
    (403, "cannot delete repository default branch|forbidden", "deleteBranch stageObject", errors.PermissionDenied),
    (404, "invalid API endpoint", "none", errors.NotAnEndpoint),
    (404, "repository not found", "", errors.RepositoryNotFound),
    (404, "(getting branch: )?branch not found|branch '.*' not found", "", errors.BranchNotFound),
    (404, "prepare-commit hook aborted, .*: listing actions: not found", "commit", errors.BranchNotFound),
    (404, "prepare-commit hook aborted, .* loading file .*", "commit", errors.HookFailed),
    (404, "tag not found", "getTag deleteTag", errors.TagNotFound),
    (404, "((update branch: )?get commit from ref [0-9a-f]{64}: )?commit not found", "", errors.CommitNotFound),
    (404, "pre-create-tag hook aborted, .*: listing actions: not found", "createTag", errors.RefNotFound),
    (404, "source reference '.*': not found", "createBranch", errors.RefNotFound),
    (404, "hard-reset \\w+ to .*: not found", "hardResetBranch", errors.RefNotFound),
    (404, "get commit from ref .*: not found", "cherryPick revertBranch", errors.RefNotFound),
    (404, "get commit by (ref|branch) .*: not found", "diffRefs findMergeBase", errors.RefNotFound),
    (
        404,
        "update branch \\w+: get commit by ref .*: not found",
        "mergeIntoBranch mergePullRequest",
        errors.RefNotFound,
    ),
    (404, "(ref|from ref|stop_at): not found", "logCommits", errors.RefNotFound),
    (404, "not found", "createSymlinkFile createTag diffRefs listObjects", errors.RefNotFound),
    (404, "not found", "copyObject getObject getUnderlyingProperties statObject", errors.ObjectNotFound),
    (404, "\\S+/\\S+: not found", "uploadPartCopy", errors.NotFound),
    (404, "update user metadata on .*: not found", "updateObjectUserMetadata", errors.ObjectNotFound),
    (404, "", "headObject", errors.ObjectNotFound),
    (404, "", "internalDeleteBranchProtectionRule", errors.NotFound),
    (404, "(user |credentials )not found", "deleteUser getUser getCredentials", errors.NotFound),
    (404, "(get gc rules: |not found: )?not found", "", errors.NotFound),
    (404, "", "none", errors.NotFound),
    (405, "", "none", errors.ApiError),
    (409, "(error creating repository|(branch|commit|tag) already exists): not unique", "", errors.AlreadyExists),
    (409, "Already exists", "createUser", errors.AlreadyExists),
    (409, "lakeFS already initialized", "setup", errors.AlreadyExists),
    (409, "communication preferences already set", "setupCommPrefs", errors.AlreadyExists),
    (409, "must specify 1-based parent number .*", "revertBranch", errors.BadRequest),
    (409, "(branch name|commit ID|tag ID) \\w+: conflict found", "createBranch createTag", errors.Conflict),
    (409, "conflict found", "importCancel", errors.Conflict),
    (409, "update branch( \\w+)?: conflict found", "mergePullRequest cherryPick revertBranch", errors.MergeConflict),
    (409, "", "mergeIntoBranch", errors.MergeConflict),
    (410, "(No data)?", "", errors.Gone),
    (412, "(update branch( \\w+)?: )?pre-[a-z-]+ hook aborted, .*", "", errors.HookFailed),
    (412, "Precondition failed", "linkPhysicalAddress setBranchProtectionRules", errors.PreconditionFailed),
    (412, "path already exists", "uploadObject", errors.PreconditionFailed),
    (412, "lakeFS is not initialized", "setupCommPrefs", errors.PreconditionFailed),
    (416, "(Requested Range Not Satisfiable)?", "getObject headObject", errors.RangeNotSatisfiable),
    (500, "prepare-commit hook aborted, .* parsing file .*", "commit", errors.HookFailed),
    (500, "pre-commit hook aborted, .*", "commit", errors.HookFailed),
    (500, "local adapter presigned URL: operation not supported", "getPhysicalAddress", errors.NotSupported),
    (500, "(update branch main: )?no merge base", "diffRefs findMergeBase mergeIntoBranch", errors.NoMergeBase),
    (500, "not found", "getUnderlyingProperties", errors.Gone),
    (500, ".*validation error.*", "", errors.BadRequest),
    (500, "could not parse URI: .*", "listObjects statObject", errors.InvalidAddress),
    (500, "could not parse URI: .*|(.*: )?bad path traversal blocked", "", errors.BadRequest),
    (500, "(malformed MIME|mime|multipart|no multipart).*", "uploadObject", errors.BadRequest),
    (500, "source reference '.*': can't create a branch without commit", "createBranch", errors.BadRequest),
    (500, "((copy range get: )?bad index)?", "getObject copyObject uploadPartCopy", errors.ServerError),
    (500, "default namespace .*: invalid address", "", errors.ServerError),
    (500, "invalid upload id format: .*|parse range .*", "uploadPartCopy", errors.BadRequest),
    (500, "expected close range character", "uploadObject", errors.ServerError),
    (501, "Not Implemented|presign multipart upload API is not supported", "", errors.NotSupported),
]

# What is known of lakeFS without a recording: races, throttling, editions with permissions, older versions.
UNRECORDED: list[tuple[int, str, str, type[errors.ApiError]]] = [
    (400, "no changes", "commit", errors.NoChanges),
    (401, "insufficient permissions", "getRepository", errors.PermissionDenied),
    (403, "session expired", "getRepository", errors.AuthenticationFailed),
    (403, "import is not supported for this storage", "importStart", errors.NotSupported),
    (404, "pull request not found", "getPullRequest", errors.PullRequestNotFound),
    (410, "repository in deletion", "getRepository", errors.Gone),
    (413, "a page (text/html)", "uploadObject", errors.TooLarge),
    (420, "", "commit", errors.Busy),
    (423, "Too many attempts, try again later", "commit", errors.Busy),
    (429, "Too many attempts, try again later", "commit", errors.Busy),
    (500, "branch is currently locked, try again later", "commit", errors.BranchLocked),
    (500, "predicate failed", "commit", errors.LostRace),
    (500, "update branch: predicate failed", "revertBranch", errors.LostRace),
    (500, "reference 'x$': reference to staging area with $ is not a commit", "getCommit", errors.BadRequest),
    (
        500,
        "prepare-commit hook aborted, run id '4oo': list actions from commit: listing actions: context canceled",
        "commit",
        errors.Unavailable,
    ),
    (503, "Throughput exceeded. Slow down and retry", "commit", errors.Unavailable),
    (502, "<html>", "commit", errors.Unavailable),
    (504, "", "commit", errors.Unavailable),
    (418, "I'm a teapot", "commit", errors.ApiError),
    (599, "", "commit", errors.ServerError),
]


def row_of(status: int, text: str, operation: str) -> int | None:
    rows = (
        n
        for n, (wanted, pattern, operations, _) in enumerate(TABLE)
        if status == wanted
        and re.fullmatch(pattern, text, re.S)
        and (not operations or operation in operations.split())
    )
    return next(rows, None)


def test_every_recorded_refusal_has_its_class(scenarios: list[Path], spec: Any) -> None:
    assert scenarios, "tests/contract/recordings is not there"
    hits = set()
    for path in scenarios:
        for step in json.loads(path.read_text())["steps"]:
            if "request" not in step or step["response"]["status"] < 300 or step["request"]["path"].startswith("!"):
                continue
            status, text = step["response"]["status"], message(step["response"])
            filled = re.sub(r"<commit:\d+(/\d+)?>", "0" * 64, step["request"]["path"].partition("?")[0])
            operation = spec.operation_of(step["request"]["method"], filled) or "none"
            text = re.sub(r"<commit:\d+>", "0" * 64, text)
            row = row_of(status, text, operation)
            assert row is not None, f"{status} {text!r} of {operation} is not in the table"
            hits.add(row)
            assert errors.error_class(status, text, operation) is TABLE[row][3], (status, text, operation)
    assert [TABLE[n] for n in range(len(TABLE)) if n not in hits] == [], "rows that no recording is for"


def message(answer: dict[str, Any]) -> str:
    if "json" in answer:
        return str(answer["json"].get("message", "")).partition("\nSchema:")[0]
    return str(answer.get("text", ""))


@pytest.mark.parametrize(("status", "text", "asked", "cls"), UNRECORDED)
def test_what_is_known_without_a_recording(status: int, text: str, asked: str, cls: type[errors.ApiError]) -> None:
    assert errors.error_class(status, text, asked) is cls


# every class -------------------------------------------------------------------------------------------

CLASSES = sorted(
    (c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.LakeFSError)),
    key=lambda c: c.__name__,
)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    "again", [*(lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in range(6)), copy.copy, copy.deepcopy]
)
def test_every_error_pickles_and_copies(cls: type[errors.LakeFSError], again: Any) -> None:
    details = {"status": 409, "names": {"repository": "lake"}, "paths": ("a", "b"), "run_id": "r", "sent": False}
    error = cls("what happened", **details)
    error.add_note("seen in a test")
    other = again(error)
    assert type(other) is cls
    assert (str(other), other.args, other.__dict__) == (str(error), error.args, error.__dict__)
    assert other.__notes__ == ["seen in a test"]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_in_the_tree_and_explained(cls: type[errors.LakeFSError]) -> None:
    assert re.search(rf"\b{cls.__name__}\b", errors.__doc__ or "")
    assert cls.__doc__


def refused(status: int, reason: str, operation: str = "commit", **names: str) -> errors.ApiError:
    return errors.from_answer(
        status, reason, operation=operation, endpoint="http://lake", context=names, request_id="id-1", retry_after=3.0
    )


def test_a_message_says_what_was_asked_of_whom_what_came_back_and_what_to_do() -> None:
    error = refused(403, "cannot commit to protected branch", repository="lake", branch="main")
    assert str(error) == (
        "commit(repository 'lake', branch 'main') was refused by http://lake: 403 cannot commit to protected branch;"
        " write to another branch and merge it (request id-1)"
    )
    assert (error.status, error.request_id, error.retry_after) == (403, "id-1", 3.0)
    assert error.context == {"repository": "lake", "branch": "main"}


SAMPLES = [
    *((status, "", "commit") for status in (304, 400, 401, 403, 404, 409, 410, 412, 416, 418, 420, 423, 429, 500, 503)),
    *((status, text, asked) for status, text, asked, _ in UNRECORDED),
    *((status, re.sub(r"\W*\.\*\W*", " x ", text), asked.split(" ")[0]) for status, text, asked, _ in TABLE),
]


@pytest.mark.parametrize(("status", "text", "asked"), SAMPLES)
def test_every_refusal_says_what_to_do(status: int, text: str, asked: str) -> None:
    said = str(refused(status, text, asked, branch="main"))
    assert said.startswith(f"{asked}(branch 'main') was refused by http://lake: {status}")
    assert re.search(r"; [a-z'][^;]{10,} \(request id-1\)$", said)


def test_every_class_says_what_to_do_in_its_own_words() -> None:
    """Only an answer that nobody foresaw has nothing but the server's log to offer."""
    advised = {cls for cls in CLASSES if issubclass(cls, errors.ApiError)} - {errors.ApiError, errors.ServerError}
    words = {cls: next(errors._ADVICE[c] for c in cls.__mro__ if c in errors._ADVICE) for cls in advised}
    assert [cls for cls, text in words.items() if text == errors._ADVICE[errors.ApiError]] == []


def test_a_failed_hook_names_its_run() -> None:
    text = "pre-commit hook aborted, run id '5gfm': 1 error occurred:\n\t* hook run id '0000_0000' failed\n\n"
    error = refused(412, text)
    assert isinstance(error, errors.HookFailed)
    assert error.run_id == "5gfm"
    assert "\n" not in str(error)
    assert error.reason == text


@pytest.mark.parametrize(
    ("status", "cause", "advice"),
    [
        (500, "parsing file _lakefs_actions/f.yaml: 'on' is required: invalid action",
         "no hook ran: correct the action file _lakefs_actions/f.yaml"),
        (404, "loading file _lakefs_actions/sub/: get action file metadata _lakefs_actions/sub/: not found",
         "no hook ran: correct the action file _lakefs_actions/sub/"),
        (500, "value of script is not of type string: wrong value type",
         "no hook ran: correct the properties in the action file"),
    ],
)  # fmt: skip
def test_a_broken_action_file_has_no_run(status: int, cause: str, advice: str) -> None:
    error = refused(status, f"prepare-commit hook aborted, run id '5gfm': 1 error occurred:\n\t* {cause}\n\n", "commit")
    assert isinstance(error, errors.HookFailed)
    assert error.run_id == ""
    assert f"; {advice}" in str(error)


def test_the_advice_on_a_conflict_fits_the_operation() -> None:
    assert "choose a merge strategy" in str(refused(409, "", "mergeIntoBranch"))
    for operation in ("revertBranch", "cherryPick"):
        text = str(refused(409, "", operation))
        assert "resolve the conflicting paths" in text
        assert "strategy" not in text

    for operation in ("createBranch", "createTag"):
        assert "has this name: choose another one" in str(refused(409, "branch name v1: conflict found", operation))


def test_a_conflict_has_no_paths_before_somebody_looks() -> None:
    error = refused(409, "", "mergeIntoBranch")
    assert isinstance(error, errors.MergeConflict)
    assert error.paths == ()


def test_the_validators_echo_of_what_was_sent_is_cut_off() -> None:
    text = 'request body has an error: at "/secret_access_key": too short\nSchema:\n  {}\n\nValue:\n  "hush"\n'
    error = refused(400, text, "login")
    assert "hush" not in f"{error} {error.reason} {error!r} {error.__dict__}"
    assert error.reason.endswith("too short")


def test_a_long_text_does_not_drown_the_message() -> None:
    error = refused(500, "x" * 100_000)
    assert len(str(error)) < errors.MAX_REASON + 300
    assert len(error.reason) == 100_000


def test_refused_arguments_do_not_show_secrets(recorder: Any) -> None:
    from lakefs_ops.api.auth import Auth

    with pytest.raises(errors.InvalidArgument) as refusal:
        Auth(recorder).login(access_key_id=7, secret_access_key={"hush": "hush"})  # type: ignore[arg-type]
    assert "secret_access_key: Input should be a valid string" in str(refusal.value)
    assert "hush" not in "".join(traceback.format_exception(refusal.value)).replace('{"hush": "hush"}', "")
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None
