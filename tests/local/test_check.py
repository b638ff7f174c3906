"""The integrity check finds each kind of damage, and none where there is none."""

import sqlite3

import pytest

from lakefs_ops import LakeFSClient
from lakefs_ops.local import LocalLakeFS
from lakefs_ops.local.store.database import InUse

ABSENT = "a" * 64


def fill(client):
    client.repositories.create(name="lake", storage_namespace="local://lake")
    for number in range(20):
        client.objects.upload("lake", "main", f"data/{number:03}", b"%d" % number)
    client.commits.create("lake", "main", message="one", metadata={"a": "b"})
    client.branches.create("lake", name="dev", source="main")
    client.objects.upload("lake", "dev", "data/005", b"new")
    client.objects.delete("lake", "dev", "data/006")
    client.commits.create("lake", "dev", message="two")
    client.refs.merge("lake", "dev", "main")
    client.tags.create("lake", id="v1", ref="main")
    client.objects.upload("lake", "dev", "staged", b"uncommitted")


@pytest.fixture
def directory(tmp_path):
    with (
        LocalLakeFS(tmp_path) as server,
        LakeFSClient(
            server.endpoint, access_key_id=server.access_key_id, secret_access_key=server.secret_access_key
        ) as client,
    ):
        fill(client)
    return tmp_path


@pytest.fixture
def problems(check):
    return lambda directory, **options: list(check(directory, **options).problems())


def test_a_whole_directory(directory, check):
    found = check(directory, deep=True)
    assert not list(found.problems())
    assert found.seen == {
        "repositories": 1, "meta-ranges": 2, "ranges": 2, "files": 22, "commits": 4, "branches": 2, "tags": 1,
        "uncommitted": 1,
    }  # fmt: skip


def test_a_directory_of_nothing(tmp_path, problems):
    with pytest.raises(FileNotFoundError, match="is not a data directory"):
        problems(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_served(tmp_path, problems):
    with LocalLakeFS(tmp_path), pytest.raises(InUse, match="another process serves"):
        problems(tmp_path)


DAMAGES = {
    "a lost range": ("DELETE FROM ranges WHERE rowid = 1", ": it is missing"),
    "a spoilt range": ("UPDATE ranges SET data = CAST(replace(data, '000', '001') AS BLOB)", "another digest"),
    "a spoilt meta-range": ("UPDATE meta_ranges SET data = CAST(replace(data, '20]', '2]') AS BLOB)", "another digest"),
    "a lost meta-range": ("DELETE FROM meta_ranges", "its meta-range"),
    "a changed commit": ("UPDATE commits SET message = 'x' WHERE message = 'one'", "its id does not match"),
    "a lost commit": ("DELETE FROM commits WHERE message = 'one'", "its parent"),
    "a branch to nowhere": (f"UPDATE branches SET commit_id = '{ABSENT}' WHERE id = 'dev'", "branch dev: its commit"),
    "a tag to nowhere": (f"UPDATE tags SET commit_id = '{ABSENT}'", f"tag v1: its commit {ABSENT} is missing"),
    "a lost branch": ("DELETE FROM branches WHERE id = 'dev'", "the branch does not exist"),
    "a lost default branch": ("DELETE FROM branches WHERE id = 'main'", "its default branch main is missing"),
    "a lost repository": ("DELETE FROM repositories", "branches: there is no repository 1"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_of_the_database(directory, damage, problems):
    statement, message = DAMAGES[damage]
    connection = sqlite3.connect(directory / "lakefs.db")
    assert connection.execute(statement).rowcount > 0
    connection.commit()
    connection.close()
    assert message in "\n".join(problems(directory))


def test_a_database_that_is_none(directory, problems):
    for name in ("lakefs.db-wal", "lakefs.db-shm"):
        (directory / name).unlink(missing_ok=True)
    (directory / "lakefs.db").write_bytes(b"no database at all" * 100)
    assert "file is not a database" in problems(directory)[0]


def test_pages_of_the_database_that_are_overwritten(directory, problems):
    with (directory / "lakefs.db").open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 4096)
    assert any(problem.startswith("the database") for problem in problems(directory))


def blob(directory, content):
    return next(path for path in (directory / "objects").rglob("*-*") if path.read_bytes() == content)


def test_objects_without_their_bytes(directory, problems):
    blob(directory, b"7").unlink()
    blob(directory, b"new").write_bytes(b"longer")
    blob(directory, b"uncommitted").unlink()
    found = problems(directory)
    assert len([problem for problem in found if "'data/007': its file cannot be read" in problem]) == 2
    assert [problem.partition("'data/005': ")[2] for problem in found if "data/005" in problem] == [
        "its file holds 6 bytes, not 3"
    ]
    assert [problem for problem in found if "uncommitted 'staged': its file cannot be read" in problem]


def test_bytes_that_changed_are_found_by_reading_them(directory, problems):
    blob(directory, b"new").write_bytes(b"NEW")
    assert not problems(directory)
    assert "its file has the digest" in problems(directory, deep=True)[0]


def test_what_the_api_may_leave_is_no_damage(tmp_path, problems):
    with (
        LocalLakeFS(tmp_path) as server,
        LakeFSClient(
            server.endpoint, access_key_id=server.access_key_id, secret_access_key=server.secret_access_key
        ) as client,
    ):
        client.repositories.create(name="lake", storage_namespace="local://lake")
        client.objects.upload("lake", "main", "a", b"1")
        client.commits.create("lake", "main", message="one")
        client.commits.create("lake", "main", message="what never was", source_metarange=ABSENT)
    assert not problems(tmp_path, deep=True, made_up=True)
    assert "its meta-range" in problems(tmp_path)[0]
