"""The action file of a webhook, with which lakeFS sends new commits and tags to a host."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lakefs_ops import errors
from lakefs_ops.flows.hooks import InstalledAction, branch_patterns, install_action, secret_reference

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient

NAME = "lakefs-ops-webhook"
"""The name of the action by default; its file is ``_lakefs_actions/lakefs-ops-webhook.yaml``."""

SECRET_HEADER = "X-LakeFS-Webhook-Secret"  # noqa: S105 - a name
"""The header with the secret that lakeFS and the receiver share."""

VARIABLE = "LAKEFSACTION_WEBHOOK_SECRET"
"""The environment variable of the lakeFS server that has the secret, by default."""

BRANCH_EVENTS = ("post-commit", "post-merge", "post-revert", "post-cherry-pick")
"""The events of a branch that bring a commit."""

MIN_SECRET = 16
"""The minimum length of a secret, in characters."""

_NAME = re.compile(r"\w[\w\-.]+", re.ASCII)

_URL = re.compile(r"""[^\x00-\x20\x7f-\U0010ffff"<>\\^`{|}]+""")
"""The characters of a URL; lakeFS would replace ``{{ ENV.NAME }}`` by a variable."""

MAX_NAME = 1024
"""The maximum length of a name in an event, in characters; longer ones are not of lakeFS."""

MAX_BODY = 1 << 20
"""The maximum size of an event, in bytes; lakeFS limits the metadata of a commit to less."""


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """An event that lakeFS sent.

    Attributes:
        repository: the repository's id.
        ref: the branch that has a new commit, or the new tag.
    """

    repository: str
    ref: str


def check_secret(secret: str) -> str:
    """Return a shared secret.

    Raises:
        InvalidArgument: it is too short.
    """
    if len(secret) < MIN_SECRET:
        raise errors.InvalidArgument(f"the secret of the webhooks must have at least {MIN_SECRET} characters")
    return secret


def is_authorized(given: str | None, secret: str) -> bool:
    """Whether the value of the header `SECRET_HEADER` is the shared secret; takes the same time for any value.

    Args:
        given: the value of the header, if the request has it.
        secret: the shared secret.
    """
    return hmac.compare_digest((given or "").encode(), secret.encode())


def parse_event(body: bytes) -> WebhookEvent:
    """Return the event in the body of a webhook.

    Raises:
        InvalidArgument: the body is not an event of a branch or tag.
    """
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    names = ("repository_id", "branch_id", "tag_id")
    if not isinstance(event, dict) or not all(isinstance(event.get(name, ""), str) for name in names):
        raise errors.InvalidArgument("the body is not an event of lakeFS")
    repository, ref = event.get("repository_id"), event.get("branch_id") or event.get("tag_id")
    if not repository or not ref:
        raise errors.InvalidArgument("the event has no repository_id, or neither a branch_id nor a tag_id")
    if not all(name.isprintable() and len(name) <= MAX_NAME for name in (repository, ref)):
        raise errors.InvalidArgument("the repository_id, branch_id or tag_id of the event is not a name in lakeFS")
    return WebhookEvent(repository, ref)


def install_webhook(
    client: LakeFSClient,
    repository: str,
    branch: str,
    *,
    url: str,
    watch: Iterable[str],
    secret_env: str = VARIABLE,
    name: str = NAME,
    dry_run: bool = False,
) -> InstalledAction:
    """Commit the action file of a webhook to a branch, unless the branch has it.

    From then on, lakeFS sends a POST request to the URL after each commit on the watched branches, and after each new
    tag. The request has the secret in the header `SECRET_HEADER`; the action file only has the name of the variable.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to commit to. lakeFS reads the file from the branch that is committed to, merged or tagged.
        url: the receiver, such as ``https://airflow.example.com/lakefs/webhook``.
        watch: the branches whose commits are sent: names or globs.
        secret_env: the environment variable of the lakeFS server that has the secret.
        name: the action's name, and the file's; another name for each receiver.
        dry_run: only compare the content.

    Raises:
        InvalidArgument: no branch, or a pattern that matches none, an invalid URL or name, or a variable that lakeFS
            does not pass to hooks.
        DirtyBranch: the branch has uncommitted changes.
        ProtectedBranch: a protection rule forbids commits; nothing was written.
    """
    text = action_file(url, watch, secret_env=secret_env, name=name)
    return install_action(client, repository, branch, f"{name}.yaml", text, dry_run=dry_run)


def action_file(url: str, watch: Iterable[str], *, secret_env: str = VARIABLE, name: str = NAME) -> str:
    """Return the action file of a webhook; the arguments are those of `install_webhook`."""
    branches = branch_patterns("watch", watch)
    if not _NAME.fullmatch(name):
        raise errors.InvalidArgument(f"name may have letters, digits, '_', '-' and '.', got {name!r}")
    try:
        parsed = urlsplit(url if _URL.fullmatch(url) else "")
        valid = parsed.scheme in ("http", "https") and bool(parsed.hostname) and parsed.port != 0
    except (TypeError, ValueError):  # not text, or an invalid port or IPv6 address
        valid = False
    if not valid:
        raise errors.InvalidArgument(f"url must be an address such as https://host/lakefs/webhook, got {url!r}")
    if parsed.username or parsed.password or parsed.query:
        raise errors.InvalidArgument(
            "url must not have credentials or a query, because it is committed; the secret is sent in a header"
        )
    on = "".join(f"  {event}:\n    branches: {json.dumps(branches)}\n" for event in BRANCH_EVENTS)
    return (
        "# Written by `lakefs-ops hooks install webhooks`.\n"
        f"name: {name}\n"
        "description: send new commits and tags\n"
        f"on:\n{on}"
        "  post-create-tag: {}\n"
        "hooks:\n"
        "  - id: send_event\n"
        "    type: webhook\n"
        "    properties:\n"
        f"      url: {json.dumps(url)}\n"
        "      timeout: 30s\n"
        "      headers:\n"
        f"        {SECRET_HEADER}: {json.dumps(secret_reference(secret_env))}\n"
    )
