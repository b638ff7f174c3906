"""A user's file that uses every group; mypy --strict proves that the types arrive as documented."""

from collections.abc import Iterator
from datetime import datetime
from typing import assert_type

from lakefs_ops import LakeFSClient
from lakefs_ops.api.actions import ActionRun, HookRun
from lakefs_ops.api.auth import AuthenticationToken, Policy, Statement, User
from lakefs_ops.api.branches import CommitOverrides
from lakefs_ops.api.common import (
    Commit,
    CommitCreation,
    Diff,
    DiffObjectStat,
    MergeResult,
    ObjectStats,
    Ref,
    StorageURI,
)
from lakefs_ops.api.garbage_collection import GarbageCollectionRule, GarbageCollectionRules
from lakefs_ops.api.imports import ImportLocation, ImportStatus
from lakefs_ops.api.objects import ObjectErrorList, ObjectHead
from lakefs_ops.api.pulls import PullRequest
from lakefs_ops.api.refs import FindMergeBaseResult
from lakefs_ops.api.repositories import BranchProtectionRule, BranchProtectionRules, RefsDump, Repository
from lakefs_ops.api.server import Config, StorageConfig
from lakefs_ops.api.staging import StagingLocation, UploadPart
from lakefs_ops.call import Stream
from lakefs_ops.errors import ApiError, HookFailed, MergeConflict, NotFound
from lakefs_ops.listing import Listing, Page


def repositories(client: LakeFSClient) -> None:
    made = client.repositories.create(name="lake", storage_namespace="s3://bucket/lake")
    assert_type(made, Repository)
    assert_type(made.created, datetime)
    assert_type(client.repositories.get_metadata("lake"), dict[str, str])
    client.repositories.set_metadata("lake", metadata={"owner": "me"})
    old = client.repositories.get_branch_protection_rules("lake")
    assert_type(old, BranchProtectionRules)
    rules = [*old.rules, BranchProtectionRule(pattern="release-*")]
    client.repositories.set_branch_protection_rules("lake", rules, if_match=old.etag)
    task = client.repositories.dump_submit("lake")
    dump = client.repositories.dump_status("lake", task.id).refs
    assert_type(dump, RefsDump | None)


def branches(client: LakeFSClient) -> None:
    assert_type(client.branches.create("lake", name="dev", source="main"), str)
    assert_type(client.branches.get("lake", "dev"), Ref)
    assert_type(client.branches.list("lake", prefix="d", show_hidden=True), Listing[Ref])
    assert_type(client.branches.diff("lake", "dev").first(), Diff | None)
    client.branches.revert("lake", "dev", ref="main", commit_overrides=CommitOverrides(message="Back"))
    assert_type(client.branches.cherry_pick("lake", "dev", ref="main"), Commit)


def commits_refs_and_tags(client: LakeFSClient) -> None:
    commit = client.commits.create("lake", "dev", message="one", metadata={"k": "v"})
    assert_type(commit, Commit)
    assert_type(client.commits.get("lake", commit.id).metadata, dict[str, str])
    for found in client.refs.log("lake", "dev", limit=10, since=datetime.now().astimezone()):
        assert_type(found, Commit)
    try:
        assert_type(client.refs.merge("lake", "dev", "main", strategy="source-wins"), MergeResult)
    except MergeConflict as conflict:
        assert_type(list(conflict.paths), list[str])
    except HookFailed as refused:
        assert_type(refused.run_id, str)
    assert_type(client.refs.merge_base("lake", "dev", "main"), FindMergeBaseResult)
    for change in client.refs.diff("lake", "main", "dev", include_right_stats=True):
        assert_type(change.right, DiffObjectStat | None)
    assert_type(client.tags.create("lake", id="v1", ref="main"), Ref)
    assert_type(list(client.tags.list("lake")), list[Ref])


def objects(client: LakeFSClient) -> None:
    stats = client.objects.upload("lake", "dev", "a.csv", b"x", content_type="text/csv", metadata={"k": "v"})
    assert_type(stats, ObjectStats)
    assert_type(stats.size_bytes, int | None)
    assert_type(stats.modified, datetime)
    with open("large.bin", "rb") as file:
        client.objects.upload("lake", "dev", "large.bin", file)
    assert_type(client.objects.get("lake", "dev", "a.csv", range="bytes=0-9"), bytes)
    with client.objects.open("lake", "dev", "large.bin") as stream:
        assert_type(stream, Stream)
        for chunk in stream:
            assert_type(chunk, bytes)
    assert_type(client.objects.head("lake", "dev", "a.csv"), ObjectHead)
    assert_type(client.objects.stat("lake", "dev", "a.csv").metadata, dict[str, str] | None)
    pages = client.objects.list("lake", "dev", delimiter="/").pages()
    assert_type(pages, Iterator[Page[ObjectStats]])
    assert_type(client.objects.delete_many("lake", "dev", ["a.csv"]), ObjectErrorList)
    client.objects.update_user_metadata("lake", "dev", "large.bin", set={"k": "v"})
    assert_type(client.objects.copy("lake", "dev", "b.csv", src_path="a.csv", src_ref="main"), ObjectStats)


def staging_and_imports(client: LakeFSClient) -> None:
    place = client.staging.get_physical_address("lake", "dev", "a", presign=True)
    assert_type(place, StagingLocation)
    client.staging.link_physical_address("lake", "dev", "a", staging=place, checksum="c", size_bytes=1)
    upload = client.staging.create_multipart_upload("lake", "dev", "b", parts=2)
    assert_type(upload.presigned_urls, list[str] | None)
    parts = [UploadPart(part_number=1, etag="e")]
    address = upload.physical_address
    client.staging.complete_multipart_upload(
        "lake", "dev", upload.upload_id, "b", physical_address=address, parts=parts
    )
    source = ImportLocation(type="common_prefix", path="s3://raw/", destination="raw/")
    started = client.imports.start("lake", "main", paths=[source], commit=CommitCreation(message="Import"))
    assert_type(client.imports.status("lake", "main", started.id), ImportStatus)


def the_rest(client: LakeFSClient) -> None:
    pull = client.pulls.create("lake", title="t", source_branch="dev", destination_branch="main")
    assert_type(client.pulls.get("lake", pull.id), PullRequest)
    assert_type(client.pulls.merge("lake", pull.id).reference, str)
    for run in client.actions.list_runs("lake", branch="main"):
        assert_type(run, ActionRun)
        for hook in client.actions.list_run_hooks("lake", run.run_id):
            assert_type(hook, HookRun)
            assert_type(client.actions.get_run_hook_output("lake", run.run_id, hook.hook_run_id), bytes)
    assert_type(client.metadata.get_meta_range("lake", "id"), StorageURI)
    client.garbage_collection.set_rules(
        "lake", default_retention_days=7, branches=[GarbageCollectionRule(branch_id="main", retention_days=28)]
    )
    assert_type(client.garbage_collection.get_rules("lake"), GarbageCollectionRules)
    assert_type(client.auth.current_user(), User)
    assert_type(client.auth.login(access_key_id="k", secret_access_key="s"), AuthenticationToken)
    statement = Statement(effect="allow", resource="*", action=["fs:*"])
    assert_type(client.auth.create_policy(id="all", statement=[statement]), Policy)
    assert_type(client.server.config(), Config)
    assert_type(client.server.config().storage_config, StorageConfig | None)


def main() -> None:
    with LakeFSClient("http://127.0.0.1:8000", access_key_id="k", secret_access_key="s") as client:
        try:
            repositories(client)
        except NotFound as missing:
            assert_type(missing.context.get("repository"), str | None)
        except ApiError as refused:
            assert_type(refused.request_id, str | None)
