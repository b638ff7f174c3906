"""The published `lakefs`, `lakefs-sdk` and `lakefs-spec` work against the embedded server as they are."""

import hashlib
import io
import itertools
import json
from datetime import timedelta
from importlib.metadata import version

import lakefs
import lakefs_sdk
import pytest
from lakefs.client import Client
from lakefs.exceptions import (
    BadRequestException,
    ConflictException,
    NotFoundException,
    ObjectExistsException,
    TransactionException,
)
from lakefs_sdk.client import LakeFSClient as GeneratedClient
from lakefs_spec import LakeFSFileSystem

from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, LocalLakeFS

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def import_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("imports")


@pytest.fixture(scope="module")
def server(import_folder):
    with LocalLakeFS(allow_import=[import_folder]) as running:
        yield running


@pytest.fixture
def name():
    return f"peers-{next(_numbers)}"


@pytest.fixture
def client(server):
    return Client(host=server.endpoint, username=ACCESS_KEY_ID, password=SECRET_ACCESS_KEY)


@pytest.fixture
def repository(client, name):
    return lakefs.Repository(name, client=client).create(storage_namespace=f"local://{name}")


class TestLakefs:
    """The high-level package."""

    def test_a_repository(self, client, repository):
        assert repository.properties.default_branch == "main"
        assert repository.id in [found.id for found in lakefs.repositories(client=client)]
        with pytest.raises(ConflictException):
            repository.create(storage_namespace=f"local://{repository.id}-2")
        repository.create(storage_namespace=f"local://{repository.id}-2", exist_ok=True)
        assert repository.metadata == {}
        assert client.version.startswith("1.")
        assert client.storage_config.blockstore_type == "local"
        repository.delete()
        with pytest.raises(NotFoundException):
            repository.delete()

    def test_write_audit_publish(self, repository):
        main = repository.branch("main")
        main.object("raw/a.txt").upload("one", content_type="text/plain", metadata={"Owner": "etl"})
        main.object("raw/b.bin").upload(b"\x00\x01")
        assert [(change.type, change.path) for change in main.uncommitted()] == [
            ("added", "raw/a.txt"), ("added", "raw/b.bin"),
        ]  # fmt: skip
        first = main.commit("first", metadata={"run": "1"}).get_commit()
        assert (first.message, first.metadata, first.committer) == ("first", {"run": "1"}, "quickstart")
        with pytest.raises(BadRequestException):
            main.commit("again")

        dev = repository.branch("dev").create("main")
        assert dev.head.id == first.id
        with pytest.raises(ConflictException):
            repository.branch("dev").create("main")
        dev.object("raw/a.txt").upload("two")
        dev.object("raw/b.bin").delete()
        dev.object("raw/c.txt").upload("three")
        dev.commit("second")
        assert [(change.type, change.path) for change in main.diff(dev)] == [
            ("changed", "raw/a.txt"), ("removed", "raw/b.bin"), ("added", "raw/c.txt"),
        ]  # fmt: skip
        merged = dev.merge_into(main, message="publish")
        assert main.head.id == merged
        assert [commit.message for commit in main.log()] == ["publish", "second", "first", "Repository created"]
        assert [commit.message for commit in main.log(max_amount=2)] == ["publish", "second"]
        with pytest.raises(BadRequestException):
            dev.merge_into(main)
        assert main.object("raw/a.txt").reader("r").read() == "two"
        assert not main.object("raw/b.bin").exists()

    def test_a_conflict(self, repository):
        main, dev = repository.branch("main"), repository.branch("dev").create("main")
        for branch, text in ((main, "one"), (dev, "two")):
            branch.object("a").upload(text)
            branch.commit(text)
        assert [change.type for change in main.diff(dev)] == ["conflict"]
        with pytest.raises(ConflictException):
            dev.merge_into(main)
        dev.merge_into(main, strategy="source-wins")
        assert main.object("a").reader("r").read() == "two"

    def test_reading_and_seeking(self, repository):
        data = bytes(range(256)) * 1024
        with repository.branch("main").object("data.bin").writer("wb", content_type="application/x-data") as file:
            for at in range(0, len(data), 1000):
                file.write(data[at : at + 1000])
        stored = repository.branch("main").object("data.bin")
        stat = stored.stat()
        assert (stat.size_bytes, stat.checksum) == (len(data), hashlib.md5(data).hexdigest())
        assert stat.content_type == "application/x-data"
        with stored.reader("rb") as file:
            assert file.read(10) == data[:10]
            assert file.tell() == 10
            file.seek(100_000)
            assert file.read(7) == data[100_000:100_007]
            file.seek(-5, io.SEEK_END)
            assert file.read() == data[-5:]
            assert file.read() == b""
            file.seek(-10, io.SEEK_CUR)
            assert file.read(3) == data[-10:-7]
        with repository.branch("main").object("lines.txt").writer("w") as file:
            file.write("one\ntwo\nthree")
        with repository.branch("main").object("lines.txt").reader("r") as file:
            assert list(file) == ["one\n", "two\n", "three"]

    def test_exclusive_creation(self, repository):
        stored = repository.branch("main").object("once")
        stored.upload("1", mode="x")
        with pytest.raises(ObjectExistsException):
            stored.upload("2", mode="x")
        assert stored.reader("r").read() == "1"

    def test_listing_copying_deleting(self, repository):
        main = repository.branch("main")
        for path in ("a/1", "a/2", "b/1", "c"):
            main.object(path).upload(path)
        assert [item.path for item in main.objects(delimiter="/")] == ["a/", "b/", "c"]
        assert [item.path for item in main.objects(prefix="a/")] == ["a/1", "a/2"]
        assert [item.path for item in main.objects(max_amount=3)] == ["a/1", "a/2", "b/1"]
        copied = main.object("c").copy("main", "d")
        assert copied.reader("r").read() == "c"
        main.delete_objects(["a/1", "a/2", "not there"])
        assert [item.path for item in main.objects()] == ["b/1", "c", "d"]
        main.reset_changes("object", "d")
        assert not main.object("d").exists()
        main.reset_changes()
        assert list(main.objects()) == []
        with pytest.raises(NotFoundException):
            main.object("c").stat()

    def test_tags_reverts_and_cherry_picks(self, repository):
        main = repository.branch("main")
        commits = {}
        for text in ("one", "two"):
            main.object(text).upload(text)
            commits[text] = main.commit(text)
        tag = repository.tag("v1").create(commits["one"])
        assert tag.get_commit().id == commits["one"].id
        with pytest.raises(ConflictException):
            repository.tag("v1").create("main")
        assert [found.id for found in repository.tags()] == ["v1"]
        assert not repository.ref("v1").object("two").exists()
        made = main.revert(commits["two"])
        assert made.message.startswith("Revert ")
        assert [item.path for item in main.objects()] == ["one"]
        dev = repository.branch("dev").create("v1")
        picked = dev.cherry_pick(commits["two"])
        assert (picked.message, picked.metadata["cherry-pick-origin"]) == ("two", commits["two"].id)
        assert [item.path for item in repository.ref("dev~1").objects()] == ["one"]
        assert [branch.id for branch in repository.branches()] == ["dev", "main"]
        tag.delete()
        dev.delete()
        with pytest.raises(NotFoundException):
            dev.get_commit()

    def test_transactions(self, repository):
        main = repository.branch("main")
        with main.transact(commit_message="by a transaction", commit_metadata={"k": "v"}, tag="t1") as tx:
            tx.object("a").upload("1")
            assert not main.object("a").exists()
        assert main.object("a").reader("r").read() == "1"
        assert repository.tag("t1").get_commit().id == main.head.id
        assert [commit.message for commit in main.log()][:2] == [
            f"Merge transaction {tx.id} to branch", "by a transaction",
        ]  # fmt: skip
        with pytest.raises(RuntimeError, match="stop"), main.transact(commit_message="never") as tx:
            tx.object("b").upload("1")
            raise RuntimeError("stop")
        assert not main.object("b").exists()
        assert [branch.id for branch in repository.branches()] == ["main"]
        with pytest.raises(TransactionException), main.transact(commit_message="conflicts") as tx:
            tx.object("a").upload("2")
            main.object("a").upload("3")
            main.commit("meanwhile")
        assert main.object("a").reader("r").read() == "3"

    def test_an_import(self, repository, import_folder):
        (import_folder / "a.txt").write_text("one")
        (import_folder / "below").mkdir()
        (import_folder / "below" / "b.txt").write_text("two")
        main = repository.branch("main")
        asked = main.import_data("from outside", metadata={"k": "v"})
        asked.prefix(f"local://{import_folder}/", "in/").object(f"local://{import_folder}/a.txt", "single")
        asked.start()
        status = asked.wait(timedelta(milliseconds=100))
        assert (status.completed, status.ingested_objects, status.error) == (True, 3, None)
        assert status.commit.id == main.head.id
        assert [item.path for item in main.objects()] == ["in/a.txt", "in/below/b.txt", "single"]
        assert main.object("in/below/b.txt").reader("r").read() == "two"

    def test_sample_data(self, client, name):
        made = lakefs.Repository(name, client=client).create(storage_namespace=f"local://{name}", include_samples=True)
        assert "README.md" in [item.path for item in made.branch("main").objects()]

    def test_presigned_addresses_are_refused(self, repository):
        stored = repository.branch("main").object("a")
        stored.upload("1")
        with pytest.raises(BadRequestException):
            stored.reader("rb", pre_sign=True).read()
        with pytest.raises(BadRequestException):
            stored.stat(pre_sign=True)


class TestGenerated:
    """The generated client."""

    @pytest.fixture
    def sdk(self, server, name):
        configuration = lakefs_sdk.Configuration(
            host=f"{server.endpoint}/api/v1", username=ACCESS_KEY_ID, password=SECRET_ACCESS_KEY
        )
        client = GeneratedClient(configuration)
        client.repositories_api.create_repository(
            lakefs_sdk.RepositoryCreation(name=name, storage_namespace=f"local://{name}")
        )
        return client

    def test_the_way_of_a_commit(self, sdk, name):
        sdk.objects_api.upload_object(name, "main", "a/b", content=b"hello")
        stat = sdk.objects_api.stat_object(name, "main", "a/b")
        assert (stat.size_bytes, stat.checksum) == (5, hashlib.md5(b"hello").hexdigest())
        assert bytes(sdk.objects_api.get_object(name, "main", "a/b")) == b"hello"
        assert bytes(sdk.objects_api.get_object(name, "main", "a/b", range="bytes=1-3")) == b"ell"
        sdk.objects_api.head_object(name, "main", "a/b")
        assert sdk.branches_api.diff_branch(name, "main").results[0].type == "added"
        commit = sdk.commits_api.commit(name, "main", lakefs_sdk.CommitCreation(message="one", metadata={"k": "v"}))
        assert sdk.commits_api.get_commit(name, commit.id) == commit
        assert sdk.branches_api.get_branch(name, "main").commit_id == commit.id
        assert sdk.branches_api.create_branch(name, lakefs_sdk.BranchCreation(name="dev", source="main")) == commit.id
        sdk.objects_api.copy_object(name, "dev", "c", lakefs_sdk.ObjectCopyCreation(src_path="a/b"))
        sdk.objects_api.delete_object(name, "dev", "a/b")
        errors = sdk.objects_api.delete_objects(name, "dev", lakefs_sdk.PathList(paths=["x", "y"])).errors
        assert errors == []
        second = sdk.commits_api.commit(name, "dev", lakefs_sdk.CommitCreation(message="two"))
        found = sdk.refs_api.diff_refs(name, "main", "dev").results
        assert [(change.type, change.path) for change in found] == [("removed", "a/b"), ("added", "c")]
        assert sdk.refs_api.find_merge_base(name, "dev", "main").base_commit_id == commit.id
        merged = sdk.refs_api.merge_into_branch(name, "dev", "main")
        log = sdk.refs_api.log_commits(name, "main").results
        assert [entry.id for entry in log][:3] == [merged.reference, second.id, commit.id]
        listed = sdk.objects_api.list_objects(name, "main", amount=1)
        assert [entry.path for entry in listed.results] == ["c"]
        tag = sdk.tags_api.create_tag(name, lakefs_sdk.TagCreation(id="v1", ref="main~1"))
        assert tag.commit_id == commit.id
        sdk.branches_api.revert_branch(name, "main", lakefs_sdk.RevertCreation(ref=merged.reference, parent_number=1))
        assert [entry.path for entry in sdk.objects_api.list_objects(name, "main").results] == ["a/b"]
        sdk.branches_api.reset_branch(name, "main", lakefs_sdk.ResetCreation(type="reset"))

    def test_staging(self, sdk, name):
        place = sdk.staging_api.get_physical_address(name, "main", "a/b")
        assert place.presigned_url is None
        staged = lakefs_sdk.StagingMetadata(staging=place, checksum="0cc1", size_bytes=5, content_type="text/plain")
        assert '"presigned_url": null' in json.dumps(staged.to_dict())
        stat = sdk.staging_api.link_physical_address(name, "main", "a/b", staged)
        assert (stat.path, stat.checksum, stat.size_bytes) == ("a/b", "0cc1", 5)
        with pytest.raises(lakefs_sdk.exceptions.ServiceException, match="operation not supported"):
            sdk.staging_api.get_physical_address(name, "main", "a/c", presign=True)

    def test_hooks_and_their_runs(self, sdk, name):
        hook = {"id": "hello", "type": "lua", "properties": {"script": "print(action.commit.message)"}}
        action = json.dumps({"name": "told", "on": {"pre-commit": None}, "hooks": [hook]})
        sdk.objects_api.upload_object(name, "main", "_lakefs_actions/told.yaml", content=action.encode())
        sdk.commits_api.commit(name, "main", lakefs_sdk.CommitCreation(message="hello"))
        (run,) = sdk.actions_api.list_repository_runs(name, branch="main").results
        assert (run.event_type, run.status) == ("pre-commit", "completed")
        (ran,) = sdk.actions_api.list_run_hooks(name, run.run_id).results
        assert b"hello" in bytes(sdk.actions_api.get_run_hook_output(name, run.run_id, ran.hook_run_id))

    def test_configuration_and_user(self, sdk):
        assert sdk.auth_api.get_current_user().user.id == "quickstart"
        config = sdk.config_api.get_config()
        assert config.storage_config.blockstore_type == "local"
        assert not config.storage_config.pre_sign_support
        sdk.health_check_api.health_check()
        token = sdk.auth_api.login(
            lakefs_sdk.LoginInformation(access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY)
        ).token
        assert token.count(".") == 2

    def test_errors_have_a_message_and_a_status(self, sdk, name):
        with pytest.raises(lakefs_sdk.exceptions.NotFoundException) as refused:
            sdk.objects_api.get_object(name, "main", "not there")
        assert (refused.value.status, refused.value.body) == (404, '{"message":"not found"}\n')
        with pytest.raises(lakefs_sdk.exceptions.BadRequestException):
            sdk.objects_api.get_object(name, "main", "x", range="bites")
        with pytest.raises(lakefs_sdk.exceptions.ServiceException) as refused:
            sdk.experimental_api.create_presign_multipart_upload(name, "main", "a", parts=2)
        assert refused.value.status == 501

    def test_presigned_addresses_are_refused(self, sdk, name):
        sdk.objects_api.upload_object(name, "main", "a", content=b"1")
        with pytest.raises(lakefs_sdk.exceptions.BadRequestException) as refused:
            sdk.objects_api.get_object(name, "main", "a", presign=True)
        assert "operation not supported" in refused.value.body
        with pytest.raises(lakefs_sdk.exceptions.BadRequestException):
            sdk.objects_api.list_objects(name, "main", presign=True)

    def test_settings_and_pull_requests(self, sdk, name):
        rule = lakefs_sdk.BranchProtectionRule(pattern="main")
        sdk.repositories_api.set_branch_protection_rules(name, [rule])
        assert sdk.repositories_api.get_branch_protection_rules(name) == [rule]
        with pytest.raises(lakefs_sdk.exceptions.ForbiddenException):
            sdk.objects_api.upload_object(name, "main", "a", content=b"1")
        sdk.branches_api.create_branch(name, lakefs_sdk.BranchCreation(name="dev", source="main"))
        sdk.objects_api.upload_object(name, "dev", "a", content=b"1")
        sdk.commits_api.commit(name, "dev", lakefs_sdk.CommitCreation(message="one"))
        asked = sdk.pulls_api.create_pull_request(
            name, lakefs_sdk.PullRequestCreation(title="one", source_branch="dev", destination_branch="main")
        )
        merged = sdk.pulls_api.merge_pull_request(name, asked.id)
        assert sdk.branches_api.get_branch(name, "main").commit_id == merged.reference
        assert sdk.pulls_api.get_pull_request(name, asked.id).status == "merged"


class TestSpec:
    """The file system."""

    @pytest.fixture
    def fs(self, server, repository):
        LakeFSFileSystem.clear_instance_cache()
        return LakeFSFileSystem(host=server.endpoint, username=ACCESS_KEY_ID, password=SECRET_ACCESS_KEY)

    def test_put_get_ls(self, fs, name, tmp_path):
        (tmp_path / "up").mkdir()
        (tmp_path / "up" / "a.txt").write_text("one")
        (tmp_path / "up" / "b.txt").write_text("two")
        fs.put(str(tmp_path / "up") + "/", f"{name}/main/in/", recursive=True)
        assert fs.ls(f"{name}/main/in/", detail=False) == [f"{name}/main/in/a.txt", f"{name}/main/in/b.txt"]
        assert sorted(fs.find(f"{name}/main/")) == [f"{name}/main/in/a.txt", f"{name}/main/in/b.txt"]
        assert [entry["type"] for entry in fs.ls(f"{name}/main/")] == ["directory"]
        fs.get(f"{name}/main/in/", str(tmp_path / "down"), recursive=True)
        assert (tmp_path / "down" / "b.txt").read_text() == "two"
        info = fs.info(f"{name}/main/in/a.txt")
        assert (info["size"], info["checksum"]) == (3, hashlib.md5(b"one").hexdigest())
        assert fs.checksum(f"{name}/main/in/a.txt") == hashlib.md5(b"one").hexdigest()

    def test_open_in_all_modes(self, fs, name):
        with fs.open(f"{name}/main/x", "wb") as file:
            file.write(b"0123456789")
        with fs.open(f"{name}/main/x", "rb") as file:
            file.seek(4)
            assert file.read(3) == b"456"
        assert fs.cat_file(f"{name}/main/x", 2, 5) == b"234"
        assert fs.tail(f"{name}/main/x", 2) == b"89"
        assert fs.head(f"{name}/main/x", 2) == b"01"
        with fs.open(f"{name}/main/t", "w") as file:
            file.write("text")
        with fs.open(f"{name}/main/t", "r") as file:
            assert file.read() == "text"
        with pytest.raises(FileExistsError), fs.open(f"{name}/main/t", "x") as file:
            file.write("other")

    def test_copy_remove_and_what_is_not_there(self, fs, name):
        fs.pipe_file(f"{name}/main/a", b"1")
        fs.cp_file(f"{name}/main/a", f"{name}/main/b")
        assert fs.cat(f"{name}/main/b") == b"1"
        fs.rm(f"{name}/main/a")
        assert not fs.exists(f"{name}/main/a")
        assert fs.exists(f"{name}/main/b")
        with pytest.raises(FileNotFoundError):
            fs.info(f"{name}/main/a")
        with pytest.raises(FileNotFoundError):
            fs.cat_file(f"{name}/none/a")
        fs.rm(f"{name}/main/", recursive=True)
        assert not fs.exists(f"{name}/main/b")

    def test_transactions(self, fs, repository, name):
        with fs.transaction(name, "main") as tx:
            fs.pipe_file(f"{name}/{tx.branch.id}/a", b"1")
            tx.commit("by lakefs-spec")
        assert fs.cat(f"{name}/main/a") == b"1"
        log = [commit.message for commit in repository.branch("main").log()]
        assert "by lakefs-spec" in log
        with pytest.raises(RuntimeError, match="stop"), fs.transaction(name, "main") as tx:
            fs.pipe_file(f"{name}/{tx.branch.id}/b", b"1")
            tx.commit("never")
            raise RuntimeError("stop")
        assert not fs.exists(f"{name}/main/b")

    def test_a_transaction_merges_tags_and_reverts(self, fs, repository, name):
        repository.branch("dev").create("main")
        fs.pipe_file(f"{name}/dev/a", b"1")
        repository.branch("dev").commit("on dev")
        with fs.transaction(name, "main") as tx:
            fs.pipe_file(f"{name}/{tx.branch.id}/b", b"2")
            made = tx.commit("on the way")
            assert tx.rev_parse(made).id == made.id
            tx.tag(made, f"{name}-v1")
            tx.merge("dev", tx.branch)
        assert fs.cat(f"{name}/main/a") == b"1"
        assert fs.cat(f"{name}/{name}-v1/b") == b"2"
        with fs.transaction(name, "main") as tx:
            tx.revert(tx.branch, made)
        assert fs.exists(f"{name}/main/a")
        assert not fs.exists(f"{name}/main/b")

    def test_walking_and_moving(self, fs, name):
        for path in ("a/1", "a/b/2", "c"):
            fs.pipe_file(f"{name}/main/{path}", b"123")
        assert [where for where, _, _ in fs.walk(f"{name}/main/a")] == [f"{name}/main/a", f"{name}/main/a/b"]
        assert fs.glob(f"{name}/main/a/**/2") == [f"{name}/main/a/b/2"]
        assert fs.du(f"{name}/main/") == 9
        assert fs.isdir(f"{name}/main/a/b")
        assert fs.created(f"{name}/main/c") == fs.modified(f"{name}/main/c")
        fs.mv(f"{name}/main/c", f"{name}/main/d")
        assert sorted(fs.find(f"{name}/main/")) == [f"{name}/main/{path}" for path in ("a/1", "a/b/2", "d")]

    def test_presigned_addresses_are_refused(self, fs, name):
        fs.pipe_file(f"{name}/main/a", b"1")
        with pytest.raises(OSError, match="not supported"), fs.open(f"{name}/main/a", "rb", pre_sign=True) as file:
            file.read()


def test_these_are_the_published_versions():
    found = [version(name) for name in ("lakefs", "lakefs-sdk", "lakefs-spec")]
    assert found == ["0.16.0", "1.88.0", "0.15.1"]
