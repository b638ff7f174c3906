"""Validation of names, with lakeFS's messages (lakeFS 1.84, contract 2.3)."""

from __future__ import annotations

import re

from lakefs_ops.local.errors import Invalid, Refusal

_REPOSITORY = re.compile(r"[a-z0-9][a-z0-9-]{2,62}", re.ASCII)
_BRANCH = re.compile(r"\w[-\w]*", re.ASCII)
_REF = re.compile(r"\S+")
_SPACE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f]")
MAX_PATH = 1024
"""Longest path of an object, in bytes."""

_BRANCH_RULE = "branch id must consist of letters, digits, underscores and dashes, and cannot start with a dash"


def _check_present(text: str, argument: str) -> None:
    if not text:
        raise Refusal(f"argument {argument}: required value: validation error")


def check_repository(name: str, argument: str = "repository") -> None:
    """Raise unless the text is a valid name of a repository."""
    _check_present(name, argument)
    if not _REPOSITORY.fullmatch(name):
        raise Invalid(f"argument {argument}: repository id: invalid value: validation error")


def is_branch(name: str) -> bool:
    """Whether the text is a valid name of a branch."""
    return _BRANCH.fullmatch(name) is not None


def check_branch(name: str, argument: str = "branch", *, explain: bool = False) -> None:
    """Raise unless the text is a valid name of a branch.

    Args:
        name: the name.
        argument: the name of the argument in the message.
        explain: add the rule to the message.
    """
    _check_present(name, argument)
    if not is_branch(name):
        rule = f": {_BRANCH_RULE}" if explain else ""
        raise Invalid(f"argument {argument}: branch id: invalid value: validation error{rule}")


def check_ref(ref: str, argument: str = "ref") -> None:
    """Raise unless the text is a valid ref expression."""
    _check_present(ref, argument)
    if not _REF.fullmatch(ref):
        raise Invalid(f"argument {argument}: ref: invalid value: validation error")


def check_tag(name: str) -> None:
    """Raise unless the text is a valid name of a tag."""
    _check_present(name, "tagID")
    wrong = (
        name == "@"
        or name.endswith((".", ".lock", "/"))
        or ".." in name
        or "@{" in name
        or any(letter in name for letter in "/^:?*[\\")
        or _SPACE_OR_CONTROL.search(name)
    )
    if wrong:
        raise Invalid("argument tagID: tag id: invalid value: validation error")


def check_path(path: str, argument: str = "path") -> None:
    """Raise unless the text is a valid path of an object."""
    if not path:
        raise Invalid(f"argument {argument}: missing path: required value: validation error")
    length = len(path.encode("utf-8", "replace"))
    if length > MAX_PATH:
        raise Invalid(
            f"argument {argument}: invalid value: validation error: {length} is above maximum length ({MAX_PATH})"
        )
