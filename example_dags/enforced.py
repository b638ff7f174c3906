"""The scene of the demo in which lakeFS itself refuses what no audit has passed (see docs/enforced-audits.md)."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping

from lakefs_ops import LakeFSClient
from lakefs_ops.errors import HookFailed
from lakefs_ops.flows.audit_gate import VARIABLE, install_audit_gate
from lakefs_ops.flows.certificates import find_certificate
from lakefs_ops.flows.publish import WriteAuditPublish


def no_object_is_empty(run: WriteAuditPublish) -> Iterator[str]:
    """Yield the objects without content."""
    for entry in run.client.objects.list(run.repository, run.ref):
        if not entry.size_bytes:
            yield f"{entry.path} is empty"


def run_gate(server: Mapping[str, str], repository: str) -> tuple[str, str]:
    """Protect main of a new repository, and merge by hand what no audit has passed, then what one has.

    Args:
        server: endpoint and access key of an embedded lakeFS in this process, which reads the key from its environment.
        repository: the name of the new repository.

    Returns:
        The reason of lakeFS's refusal, and the URL of the merge of the audited branch; each is empty if lakeFS did the
        opposite.
    """
    os.environ[VARIABLE] = key = secrets.token_hex(32)
    with LakeFSClient(**server, audit_key=key) as client:
        client.repositories.create(name=repository, storage_namespace=f"local://{repository}")
        install_audit_gate(client, repository, "main", protect=["main"])
        run = WriteAuditPublish(client, repository, key="daily/1")
        run.open()
        client.objects.upload(repository, run.branch, "daily/1.csv", b"day,celsius\n2015-01-01,4.2\n")
        refused = ""
        run.seal()
        try:
            client.refs.merge(repository, run.branch, "main")
        except HookFailed as error:
            refused = (re.search("audit gate: [^;]*", error.message) or [""])[0]
        run.audit(no_object_is_empty)
        merge = client.refs.merge(repository, run.branch, "main").reference
        audited = find_certificate(client, repository, f"{run.audited}", into="main", secret=key)
        return refused, client.links.commit(repository, merge) if audited else ""
