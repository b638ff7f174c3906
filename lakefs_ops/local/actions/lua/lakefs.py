"""The ``lakefs`` module of a script: its functions return the status and the decoded response of the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lakefs_ops.local.actions.lua.values import Function

Request = Callable[[str, Sequence[str], Mapping[str, str], Any], tuple[int, bytes]]
"""Sends a request: method, path segments, query and JSON body in; status and body of the response out."""


def functions(request: Request) -> Mapping[str, Function]:
    """Return the functions of the module."""

    def decoded(method: str, segments: Sequence[str], query: Mapping[str, Any], body: Any = None) -> tuple[Any, ...]:
        status, content = request(method, ("repositories", *segments), _query(query), body)
        return (status, json.loads(content)) if content else (status,)

    def create_tag(repository: str, ref: str, id: str) -> tuple[Any, ...]:
        return decoded("POST", (repository, "tags"), {}, {"ref": ref, "id": id})

    def diff_refs(repository: str, left: str, right: str, *page: Any) -> tuple[Any, ...]:
        query = dict(zip(("after", "prefix", "delimiter", "amount"), page, strict=True))
        return decoded("GET", (repository, "refs", left, "diff", right), query)

    def diff_branch(repository: str, branch: str, *page: Any) -> tuple[Any, ...]:
        query = dict(zip(("after", "amount", "prefix", "delimiter"), page, strict=True))
        return decoded("GET", (repository, "branches", branch, "diff"), query)

    def list_objects(repository: str, ref: str, *page: Any) -> tuple[Any, ...]:
        query = dict(zip(("after", "prefix", "delimiter", "amount", "user_metadata"), page, strict=True))
        return decoded("GET", (repository, "refs", ref, "objects", "ls"), query)

    def get_object(repository: str, ref: str, path: str) -> tuple[Any, ...]:
        return request("GET", ("repositories", repository, "refs", ref, "objects"), {"path": path}, None)

    def stat_object(repository: str, ref: str, path: str, user_metadata: bool | None) -> tuple[Any, ...]:
        query = _query({"path": path, "user_metadata": user_metadata})
        return request("GET", ("repositories", repository, "refs", ref, "objects", "stat"), query, None)

    def update_user_metadata(repository: str, branch: str, path: str, metadata: dict[str, Any]) -> tuple[Any, ...]:
        for key, value in metadata.items():
            if isinstance(value, bool | dict | list):
                raise TypeError(f"the value of '{key}' must be a string")
        body = {"set": {key: value if isinstance(value, str) else f"{value:.14g}" for key, value in metadata.items()}}
        segments = (repository, "branches", branch, "objects", "stat", "user_metadata")
        return decoded("PUT", segments, {"path": path}, body)

    text, amount, flag = str | None, int | None, bool | None
    return {
        "create_tag": Function(create_tag, str, str, str),
        "diff_branch": Function(diff_branch, str, str, text, amount, text, text),
        "diff_refs": Function(diff_refs, str, str, str, text, text, text, amount),
        "get_object": Function(get_object, str, str, str),
        "list_objects": Function(list_objects, str, str, text, text, text, amount, flag),
        "stat_object": Function(stat_object, str, str, str, flag),
        "update_object_user_metadata": Function(update_user_metadata, str, str, str, dict),
    }


def _query(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Drop parameters without a value, and write the others as JSON."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in parameters.items()
        if value is not None
    }
