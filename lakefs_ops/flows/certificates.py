"""Audit certificates: the signed statement that a commit has passed its audit for a branch.

A certificate is an object on the hidden branch `AUDITS_BRANCH` of the repository, at `path_of`. lakeFS's hooks can read
an object there, but not the metadata of a commit, whoever merges and by whatever client. The object has two fields: the
``payload``, the JSON of a `Certificate`, and the ``signature``, the HMAC-SHA256 of the payload in hexadecimal digits.
`lakefs_ops.flows.audit_gate` installs the hook that checks it before a merge.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.flows.ensure import ensure_branch
from lakefs_ops.flows.history import head_of

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.checks import CheckResult

AUDITS_BRANCH = "lakefs-ops-audits"
"""The branch that has the certificates. It is hidden, and starts at the repository's first commit."""

KIND = "lakefs-ops.audit-certificate/1"
"""The kind of the payload, so that no other signed text can pass for a certificate."""

log = logging.getLogger(__name__)


class InvalidCertificate(errors.LakeFSError):
    """A certificate that does not prove the audit of a commit: unreadable, or signed with another key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What an audit has seen, and its verdict.

    Attributes:
        repository: the repository's id.
        destination: the branch that the commit may be merged into.
        commit: the id of the audited commit.
        tree: the id of its meta-range, which stands for its content.
        checks: the ``name`` and the ``verdict`` of each check: ``passed``, or ``passed with warnings``.
        key: the key of the run.
        run: the URL of the run; empty if it has none.
        strategy: the merge strategy that the run uses; empty for none.
        date: the date of the audit, in ISO 8601.
        verdict: ``passed``; nothing else is signed.
        kind: `KIND`.
    """

    repository: str
    destination: str
    commit: str
    tree: str
    checks: Sequence[Mapping[str, str]]
    key: str = ""
    run: str = ""
    strategy: str = ""
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    verdict: str = "passed"
    kind: str = KIND

    def sign(self, secret: str) -> bytes:
        """Return the content of the object: the payload and its signature.

        Args:
            secret: the key.
        """
        payload = json.dumps(asdict(self))
        return json.dumps({"payload": payload, "signature": _signature(payload, secret)}).encode()

    @classmethod
    def verify(cls, content: bytes, secret: str) -> Certificate:
        """Return the certificate of an object.

        Args:
            content: the content of the object.
            secret: the key.

        Raises:
            InvalidCertificate: it is not a certificate, or not signed with this key.

        Example:
            >>> audit = Certificate(repository="lake", destination="main", commit="c1", tree="t1", checks=[])
            >>> Certificate.verify(audit.sign("an example of a key"), "an example of a key") == audit
            True
        """
        try:
            signed = json.loads(content)
            payload, signature = str(signed["payload"]), str(signed["signature"])
            if not hmac.compare_digest(_signature(payload, secret).encode(), signature.encode()):
                raise InvalidCertificate("the certificate was signed with another key, or changed after it was signed")
            certificate = cls(**json.loads(payload))
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidCertificate(f"the object is not an audit certificate: {error}") from None
        if (certificate.kind, certificate.verdict) != (KIND, "passed"):
            raise InvalidCertificate(f"the object is not a certificate of the kind {KIND}")
        return certificate


def path_of(commit_id: str, destination: str) -> str:
    """Return the path of a commit's certificate.

    Example:
        >>> path_of("c1", "main")
        'certificates/main/c1.json'
    """
    return f"certificates/{destination}/{commit_id}.json"


def certify(
    client: LakeFSClient,
    repository: str,
    commit_id: str,
    results: Iterable[CheckResult],
    *,
    into: str,
    secret: str,
    key: str = "",
    run: str = "",
    strategy: str | None = None,
    date: str | None = None,
) -> Certificate:
    """Sign and store the certificate of a commit that has passed its audit.

    May be repeated; the newest certificate replaces the earlier one.

    Args:
        client: the client.
        repository: the repository's id.
        commit_id: the full id of the audited commit.
        results: the results of the checks.
        into: the branch to merge the commit into.
        secret: the key.
        key: the key of the run.
        run: the URL of the run.
        strategy: the merge strategy that the run uses.
        date: the date of the audit, in ISO 8601; default: now.

    Raises:
        InvalidArgument: no check has run, or one has failed; nothing was signed.
    """
    found = list(results)
    failed = [result.name for result in found if not result.passed]
    if failed or not found:
        problem = f"the checks {', '.join(failed)} failed" if failed else "no check has run"
        raise errors.InvalidArgument(f"commit {commit_id} gets no certificate for {into!r}, because {problem}")
    certificate = Certificate(
        repository=repository,
        destination=into,
        commit=commit_id,
        tree=client.commits.get(repository, commit_id).meta_range_id,
        checks=[
            {"name": result.name, "verdict": "passed with warnings" if result.warnings else "passed"}
            for result in found
        ],
        key=key,
        run=run,
        strategy=strategy or "",
        **({"date": date} if date else {}),
    )
    content, path = certificate.sign(secret), path_of(commit_id, into)
    try:
        client.objects.upload(repository, AUDITS_BRANCH, path, content, content_type="application/json")
    except errors.BranchNotFound:
        ensure_registry(client, repository, into)
        client.objects.upload(repository, AUDITS_BRANCH, path, content, content_type="application/json")
    _commit(client, repository, f"Certify {commit_id[:16]} for {into}")
    return certificate


def withdraw(client: LakeFSClient, repository: str, commit_id: str, *, into: str) -> None:
    """Delete the certificate of a commit, if it has one, because a later audit of it has failed.

    Args:
        client: the client.
        repository: the repository's id.
        commit_id: the full id of the commit.
        into: the branch that the certificate is for.
    """
    with suppress(errors.NotFound):
        client.objects.delete(repository, AUDITS_BRANCH, path_of(commit_id, into))
        _commit(client, repository, f"Withdraw {commit_id[:16]} for {into}")


def find_certificate(
    client: LakeFSClient, repository: str, commit_id: str, *, into: str, secret: str
) -> Certificate | None:
    """Return the certificate of a commit, or None if it has none.

    Args:
        client: the client.
        repository: the repository's id.
        commit_id: the full id of the commit; for a merge commit, that of its second parent.
        into: the branch that the certificate is for.
        secret: the key.

    Raises:
        InvalidCertificate: the certificate is not valid for this commit, branch and repository.
    """
    try:
        content = client.objects.get(repository, AUDITS_BRANCH, path_of(commit_id, into))
    except errors.NotFound:
        return None
    certificate = Certificate.verify(content, secret)
    if (certificate.repository, certificate.destination, certificate.commit) != (repository, into, commit_id):
        raise InvalidCertificate(
            f"the certificate is for commit {certificate.commit}, branch {certificate.destination!r} of"
            f" {certificate.repository!r}, not for commit {commit_id}, branch {into!r} of {repository!r}"
        )
    return certificate


def ensure_registry(client: LakeFSClient, repository: str, ref: str) -> None:
    """Create the branch with the certificates, if it does not exist.

    It starts at the repository's first commit, which has neither objects nor actions.

    Args:
        client: the client.
        repository: the repository's id.
        ref: any ref of the repository.
    """
    if head_of(client, repository, AUDITS_BRANCH) is not None:
        return
    *_, first = client.refs.log(repository, ref, first_parent=True)
    with suppress(errors.AlreadyExists):  # another caller was faster
        ensure_branch(client, repository, AUDITS_BRANCH, source=first.id, hidden=True)


def _commit(client: LakeFSClient, repository: str, message: str) -> None:
    """Commit the certificates. Uncommitted ones count as well, so a failure only leaves this to the next commit."""
    try:
        client.commits.create(repository, AUDITS_BRANCH, message=message)
    except errors.NoChanges:
        pass  # another caller's commit took the certificate along
    except errors.LakeFSError as error:
        log.info("the certificates on %r of %r are not committed yet: %s", AUDITS_BRANCH, repository, error.message)


def _signature(payload: str, secret: str) -> str:
    return hmac.digest(secret.encode(), payload.encode(), "sha256").hex()
