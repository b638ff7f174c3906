"""Trees: markers of directories, deletion of any number of objects, and partial files that something else took."""

import os
import pickle
import threading
import time

import pytest

from lakefs_ops import errors, transfer
from lakefs_ops.local.faults import Fault
from lakefs_ops.transfer import paths


@pytest.fixture
def put(lakefs, lakefs_repository):
    def put(files):
        for path, content in files.items():
            lakefs.client.objects.upload(lakefs_repository, "main", path, content)

    return put


@pytest.fixture
def names(lakefs, lakefs_repository):
    return lambda: names_on(lakefs, lakefs_repository, "main")


@pytest.fixture(scope="module")
def repository_of_many(lakefs, lakefs_repository_factory):
    """A repository with 2,500 objects below ``many/``, linked without bytes."""
    repository = lakefs_repository_factory()
    place = lakefs.client.staging.get_physical_address(repository, "main", "many/0000")
    for number in range(2500):
        lakefs.client.objects.stage(
            repository, "main", f"many/{number:04}", physical_address=place.physical_address.partition(",")[0],
            checksum="0" * 32, size_bytes=2,
        )  # fmt: skip
    lakefs.client.commits.create(repository, "main", message="many")
    return repository


@pytest.fixture
def many(lakefs, repository_of_many, request):
    """The repository, and a new branch with its objects."""
    branch = request.function.__name__
    lakefs.client.branches.create(repository_of_many, name=branch, source="main")
    return repository_of_many, branch


def names_on(lakefs, repository, branch):
    return [o.path for o in lakefs.client.objects.list(repository, branch)]


def files_in(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# markers -----------------------------------------------------------------------------------------------


def test_markers_of_directories_do_not_stop_a_download(lakefs, lakefs_repository, put, tmp_path):
    put({"t/": b"", "t/a": b"", "t/a/": b"", "t/a/b": b"1", "t/c/d": b"", "t/c/d/e/f": b"2", "t/empty": b""})
    result = transfer.download_tree(lakefs.client, lakefs_repository, "main", "t", tmp_path / "t")
    assert files_in(tmp_path / "t") == {"a/b": b"1", "c/d/e/f": b"2", "empty": b""}
    assert result.markers == ("t/", "t/a", "t/a/", "t/c/d")
    assert result.transferred == ("t/a/b", "t/c/d/e/f", "t/empty")
    assert pickle.loads(pickle.dumps(result)) == result


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"t/a/": b"content", "t/a/b": b"1"}, "it ends with '/' like the marker of a directory, but is not empty"),
        ({"t/a": b"content", "t/a/b": b"1"}, "both a file and a directory"),
    ],
)
def test_a_marker_with_content_is_refused_before_the_first_byte(
    lakefs, lakefs_repository, put, tmp_path, files, reason
):
    put({"t/0": b"first", **files})
    with pytest.raises(paths.UnsafePath, match=reason):
        transfer.download_tree(lakefs.client, lakefs_repository, "main", "t", tmp_path / "t")
    assert not (tmp_path / "t").exists()


# deletion ----------------------------------------------------------------------------------------------


def test_a_tree_of_any_size_is_deleted(lakefs, many):
    for path in ("many", "many.csv"):
        lakefs.client.objects.upload(*many, path, b"not below")
    steps = []
    args = (lakefs.client, *many, "many")
    planned = transfer.delete_tree(*args, dry_run=True)
    assert len(names_on(lakefs, *many)) == 2502
    result = transfer.delete_tree(*args, progress=steps.append)
    assert result == planned
    assert (len(result.paths), result.bytes) == (2500, 5000)
    assert [step.objects_done for step in steps] == [1000, 2000, 2500]
    assert steps[-1].bytes_done == 5000
    assert steps[-1].objects_total is None
    assert names_on(lakefs, *many) == ["many", "many.csv"]
    assert transfer.delete_tree(*args).paths == ()
    assert pickle.loads(pickle.dumps(result)) == result


def test_deletion_is_cancelled_between_requests(lakefs, many):
    cancel = threading.Event()
    with pytest.raises(transfer.Cancelled):
        transfer.delete_tree(lakefs.client, *many, "many/", progress=lambda _: cancel.set(), cancel=cancel)
    assert len(names_on(lakefs, *many)) == 1500


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_deletion_with_a_lost_message_keeps_what_was_written_since(
    lakefs, lakefs_repository, put, names, mocker, when
):
    put({f"t/{n}": b"old" for n in range(3)})
    sleep = mocker.patch(
        "lakefs_ops.transfer.deletes.time.sleep", side_effect=lambda _: put({"t/1": b"new", "t/x": b""})
    )
    lakefs.faults.add(Fault("deleteObjects", when=when, action="reset"))
    result = transfer.delete_tree(lakefs.client, lakefs_repository, "main", "t")
    assert sleep.call_count == 1
    assert result.paths == ("t/0", "t/1", "t/2")
    assert names() == ["t/1", "t/x"]


def test_the_whole_branch_is_only_deleted_on_request(lakefs, lakefs_repository, put, names):
    put({"a": b"1", "b/c": b"2"})
    with pytest.raises(errors.InvalidArgument, match="whole_branch=True"):
        transfer.delete_tree(lakefs.client, lakefs_repository, "main", "")
    with pytest.raises(errors.InvalidArgument, match="deletes all objects"):
        transfer.delete_tree(lakefs.client, lakefs_repository, "main", "b", whole_branch=True)
    with pytest.raises(errors.InvalidArgument, match="must be a string"):
        transfer.delete_tree(lakefs.client, lakefs_repository, "main", None)
    assert names() == ["a", "b/c"]
    assert transfer.delete_tree(lakefs.client, lakefs_repository, "main", "", whole_branch=True).paths == ("a", "b/c")


def test_deletion_on_a_tag_is_refused(lakefs, lakefs_repository, put):
    """LakeFS would answer that all went well, and delete nothing."""
    put({"a/b": b"1"})
    lakefs.client.commits.create(lakefs_repository, "main", message="a")
    lakefs.client.tags.create(lakefs_repository, id="v1", ref="main")
    with pytest.raises(errors.BranchNotFound):
        transfer.delete_tree(lakefs.client, lakefs_repository, "v1", "a")


def test_objects_that_are_not_deleted_are_named(lakefs, many):
    client = lakefs.client
    repository, branch = many
    client.repositories.set_branch_protection_rules(repository, [{"pattern": branch}])
    for _ in range(100):  # a real lakeFS caches the rules for some seconds
        try:
            client.objects.delete(repository, branch, "nothing")
        except errors.ProtectedBranch:
            break
        time.sleep(0.1)
    with pytest.raises(
        transfer.DeleteFailed,
        match=r"1000 objects .*'many/0000', .*and 990 more.* 0 were deleted, the rest was not tried",
    ) as e:
        transfer.delete_tree(client, repository, branch, "many")
    assert e.value.deleted == ()
    assert [error.path for error in e.value.errors][:2] == ["many/0000", "many/0001"]
    assert {error.status_code for error in e.value.errors} == {403}
    assert len(names_on(lakefs, *many)) == 2500
    again = pickle.loads(pickle.dumps(e.value))
    assert again.errors == e.value.errors


def test_single_objects_that_are_not_deleted_do_not_stop_the_rest(connect, wire, answer):
    def entry(path):
        return {
            "path": path,
            "path_type": "object",
            "physical_address": "",
            "checksum": "",
            "mtime": 1,
            "size_bytes": 1,
        }

    def page(paths, more):
        pagination = {"has_more": more, "next_offset": paths[-1], "results": len(paths), "max_per_page": 1000}
        return answer(200, {"pagination": pagination, "results": [entry(p) for p in paths]})

    refused = {"errors": [{"path": "t/b", "status_code": 500, "message": "locked"}]}
    wire.say(
        answer(200, {"id": "main", "commit_id": "7" * 64}), page(["t/a", "t/b"], True), answer(200, refused),
        page(["t/c"], False), answer(200, {"errors": []}),
    )  # fmt: skip
    with pytest.raises(transfer.DeleteFailed, match=r"1 object .*'t/b': 500 locked.* 2 were") as e:
        transfer.delete_tree(connect(), "lake", "main", "t")
    assert e.value.deleted == ("t/a", "t/c")


def test_more_paths_than_one_request_takes_are_refused(lakefs, lakefs_repository):
    with pytest.raises(errors.InvalidArgument, match=r"1001 paths.*at most 1000.*delete_tree"):
        lakefs.client.objects.delete_many(lakefs_repository, "main", map(str, range(1001)))


# partial files -----------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def partial(lakefs, lakefs_repository, put, tmp_path):
    """The path of the partial file of a download of ``a``; a first attempt fails before its first byte."""
    put({"a": CONTENT})

    def interrupt(_step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer.download_file(lakefs.client, lakefs_repository, "main", "a", tmp_path / "a", progress=interrupt)
    (partial,) = tmp_path.iterdir()
    partial.unlink()
    return partial


def hard_link(partial, outside):
    os.link(outside, partial)


def symbolic_link(partial, outside):
    partial.symlink_to(outside)


def dangling_link(partial, outside):
    partial.symlink_to(outside.with_name("nowhere"))


def pipe(partial, _outside):
    os.mkfifo(partial)


def directory(partial, _outside):
    partial.mkdir()


def test_a_partial_file_that_a_download_has_left_is_not_uploaded(lakefs, lakefs_repository, partial, tmp_path):
    (tmp_path / "b").write_bytes(b"b")
    partial.write_bytes(CONTENT)
    partial.with_name(partial.name.replace(".lakefs-part", "-0123abcd.lakefs-part")).write_bytes(CONTENT)
    (tmp_path / "c.lakefs-part").write_bytes(b"the user's own")
    result = transfer.upload_tree(lakefs.client, lakefs_repository, "main", "", tmp_path)
    assert result.transferred == ("b", "c.lakefs-part")


@pytest.mark.parametrize("place", [hard_link, symbolic_link, dangling_link, pipe, directory])
def test_a_partial_file_that_is_something_else_is_not_written(
    lakefs, lakefs_repository, partial, tmp_path_factory, tmp_path, place
):
    outside = tmp_path_factory.mktemp("outside") / "theirs"
    outside.write_bytes(b"theirs")
    place(partial, outside)
    before = partial.lstat()
    transfer.download_file(lakefs.client, lakefs_repository, "main", "a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert outside.read_bytes() == b"theirs"
    assert os.listdir(outside.parent) == ["theirs"]
    assert (partial.lstat().st_ino, partial.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert sorted(os.listdir(tmp_path)) == sorted(["a", partial.name])


def test_a_private_partial_file_is_removed_after_an_error(lakefs, lakefs_repository, partial, tmp_path):
    partial.mkdir()

    def interrupt(_step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer.download_file(lakefs.client, lakefs_repository, "main", "a", tmp_path / "a", progress=interrupt)
    assert os.listdir(tmp_path) == [partial.name]


def test_a_file_of_another_user_is_not_written(lakefs, lakefs_repository, partial, tmp_path, monkeypatch):
    partial.write_bytes(b"theirs")
    monkeypatch.setattr("lakefs_ops.transfer.downloads.os.geteuid", lambda: os.getuid() + 1)
    transfer.download_file(lakefs.client, lakefs_repository, "main", "a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert partial.read_bytes() == b"theirs"
