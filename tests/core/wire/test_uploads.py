"""Uploads: files that change meanwhile, attempts with unknown outcome, and arguments that cannot be sent."""

import hashlib
import io
import logging
import os
import pickle
import tempfile
import threading
import time
from pathlib import Path

import pytest

from lakefs_ops import LakeFSClient, Retries, errors, transfer
from lakefs_ops.config import Config
from lakefs_ops.local.faults import Fault

CONTENT = bytes(range(256)) * 12_000
CONTENT_MD5 = hashlib.md5(CONTENT).hexdigest()
"""More than one block of a body."""


@pytest.fixture
def client(lakefs):
    """A client that repeats quickly."""
    lakefs.faults.clear()
    config = Config(
        endpoint=lakefs.endpoint, access_key_id=lakefs.access_key_id, secret_access_key=lakefs.secret_access_key,
        retries=Retries(count=2, first_wait=0.001, longest_wait=0.002),
    )  # fmt: skip
    with LakeFSClient(config=config) as client:
        yield client
    lakefs.faults.clear()


@pytest.fixture
def repo(lakefs_repository):
    return lakefs_repository


def names(client, repo):
    return [o.path for o in client.objects.list(repo, "main")]


# files that change -------------------------------------------------------------------------------------


def once(change):
    """Runs a change when the first bytes are on their way."""
    changes = [change]

    def progress(step):
        if step.bytes_done and changes:
            changes.pop()()

    return progress


def grow(file):
    with file.open("ab") as log:
        log.write(b"a further line\n" * 100_000)


def rewrite(file):
    with file.open("r+b") as data:
        data.write(b"other bytes")
    os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns + 1))


def shorten(file):
    os.truncate(file, 2_000_000)


@pytest.mark.parametrize("size", [10, 1 << 20, len(CONTENT)])
@pytest.mark.parametrize("as_file", [False, True], ids=["path", "file"])
def test_a_file_that_grows_is_uploaded_as_it_was(client, repo, tmp_path, size, as_file):
    log = tmp_path / "app.log"
    log.write_bytes(CONTENT[:size])
    with log.open("rb", buffering=0) as file:
        stats = transfer.upload_file(
            client, repo, "main", "log", file if as_file else log, progress=once(lambda: grow(log))
        )
    assert stats.size_bytes == size
    assert client.objects.get(repo, "main", "log") == CONTENT[:size]


def test_growth_is_logged(client, repo, tmp_path, caplog):
    log = tmp_path / "app.log"
    log.write_bytes(CONTENT)
    with caplog.at_level(logging.WARNING, "lakefs_ops"):
        transfer.upload_file(client, repo, "main", "log", log, progress=once(lambda: grow(log)))
    assert f"app.log grew by 1500000 bytes; 'log' has the first {len(CONTENT)} bytes" in caplog.text


def test_a_log_is_uploaded_again_and_again_while_it_grows(client, repo, tmp_path):
    log = tmp_path / "app.log"
    log.write_bytes(b"start\n")
    stop = threading.Event()

    def write():
        with log.open("ab", buffering=0) as file:
            # Bounded, so that a slow run cannot fill the disk.
            for _ in range(2000):
                if stop.wait(0.001):
                    return
                file.write(b"line\n" * 100)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(10):
            stats = transfer.upload_file(client, repo, "main", "log", log)
            got = client.objects.get(repo, "main", "log")
            assert len(got) == stats.size_bytes
            assert got == log.read_bytes()[: len(got)]
            transfer.upload_tree(client, repo, "main", "logs", tmp_path)
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize(
    ("change", "message"), [(rewrite, "changed by another program"), (shorten, "changed by another program|shorter")]
)
@pytest.mark.parametrize("tree", [False, True], ids=["file", "tree"])
def test_a_file_that_changes_otherwise_is_not_published(client, repo, tmp_path, change, message, tree):
    source = tmp_path / "data.bin"
    source.write_bytes(CONTENT)
    progress = once(lambda: change(source))
    with pytest.raises(errors.InvalidArgument, match=message):
        if tree:
            transfer.upload_tree(client, repo, "main", "", tmp_path, progress=progress)
        else:
            transfer.upload_file(client, repo, "main", "data", source, progress=progress)
    assert names(client, repo) == []


def test_the_size_of_a_file_in_a_tree_is_that_of_its_own_start(client, repo, tmp_path):
    """The tree was listed long before its last file is opened."""
    for name in "ab":
        (tmp_path / name).write_bytes(b"x")
    result = transfer.upload_tree(
        client, repo, "main", "", tmp_path, workers=1, progress=once(lambda: (tmp_path / "b").write_bytes(b"longer"))
    )
    assert client.objects.get(repo, "main", "b") == b"longer"
    assert result.bytes == 7


def test_a_pipe_has_no_size(client, repo, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"through a pipe",), daemon=True).start()
    assert transfer.upload_file(client, repo, "main", "a", tmp_path / "pipe").size_bytes == 14


# unknown outcomes --------------------------------------------------------------------------------------


@pytest.fixture
def between(monkeypatch):
    """Runs something between the first attempt and its repeat."""

    def between(action):
        actions = [action]

        def sleep(_seconds):
            if actions:
                actions.pop()()

        monkeypatch.setattr("lakefs_ops.wire.transport.time.sleep", sleep)

    return between


def by_bytes(client, repo, content, tmp_path, **options):
    return client.objects.upload(repo, "main", "a", content, **options)


def by_file(client, repo, content, tmp_path, **options):
    file = io.BytesIO(b"skipped" + content)
    file.seek(7)
    return client.objects.upload(repo, "main", "a", file, **options)


def by_transfer(client, repo, content, tmp_path, **options):
    (tmp_path / "source").write_bytes(content)
    return transfer.upload_file(client, repo, "main", "a", tmp_path / "source", **options)


WAYS = pytest.mark.parametrize("upload", [by_bytes, by_file, by_transfer])
UNKNOWN = pytest.mark.parametrize("fault", [{"action": "reset"}, {"status": 503}, {"status": 504}], ids=str)


@WAYS
@UNKNOWN
def test_what_somebody_else_wrote_meanwhile_is_kept(lakefs, client, repo, tmp_path, between, upload, fault):
    lakefs.faults.add(Fault("uploadObject", when="after", **fault))
    between(lambda: lakefs.client.objects.upload(repo, "main", "a", b"theirs, newer"))
    with pytest.raises(errors.Conflict, match=r"another version of 'a' was written .* was kept"):
        upload(client, repo, CONTENT, tmp_path)
    assert client.objects.get(repo, "main", "a") == b"theirs, newer"


@WAYS
@UNKNOWN
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_upload_is_repeated_only_if_it_is_not_there(lakefs, client, repo, tmp_path, upload, fault, when):
    lakefs.faults.add(Fault("uploadObject", when=when, **fault))
    calls = lakefs.faults.calls["uploadObject"]
    options = {"metadata": {"K": " v "}, "content_type": "text/x"} if upload is not by_transfer else {}
    stats = upload(client, repo, CONTENT, tmp_path, **options)
    assert stats.size_bytes == len(CONTENT)
    assert client.objects.get(repo, "main", "a") == CONTENT
    assert lakefs.faults.calls["uploadObject"] - calls == (2 if when == "before" else 1)


def old(client, repo, **properties):
    """An object that was written a minute ago."""
    place = client.staging.get_physical_address(repo, "main", "a").physical_address.partition(",")[0]
    values = {"checksum": "0" * 32, "size_bytes": 5, "mtime": int(time.time()) - 60, **properties}
    client.objects.stage(repo, "main", "a", physical_address=place, **values)


@WAYS
def test_an_older_version_is_overwritten(lakefs, client, repo, tmp_path, upload):
    old(client, repo)
    lakefs.faults.add(Fault("uploadObject", action="reset"))
    upload(client, repo, CONTENT, tmp_path)
    assert client.objects.get(repo, "main", "a") == CONTENT


def test_the_same_bytes_with_other_properties_are_written_again(lakefs, client, repo):
    stats = client.objects.upload(repo, "main", "b", b"bytes")
    old(client, repo, checksum=stats.checksum, content_type="text/old")
    lakefs.faults.add(Fault("uploadObject", action="reset"))
    client.objects.upload(repo, "main", "a", b"bytes", content_type="text/new")
    assert client.objects.stat(repo, "main", "a").content_type == "text/new"


def test_what_cannot_be_checked_is_not_repeated(lakefs, client, repo):
    lakefs.faults.add(Fault("uploadObject", action="reset"))
    lakefs.faults.add(Fault("statObject", status=503, times=None))
    with pytest.raises(errors.ConnectionFailed, match=r"uploadObject.*may have taken effect"):
        client.objects.upload(repo, "main", "a", b"1")
    assert names(client, repo) == []


def test_what_was_surely_refused_is_repeated_at_once(lakefs, client, repo):
    lakefs.faults.add(Fault("uploadObject", status=429, message="Too many attempts, try again later"))
    before = lakefs.faults.calls["statObject"]
    client.objects.upload(repo, "main", "a", b"1")
    client.objects.upload(repo, "main", "a", b"2")
    assert lakefs.faults.calls["statObject"] == before, "no further requests"


def copied(client, repo):
    client.objects.copy(repo, "main", "a", src_path="source")


def staged(client, repo):
    old(client, repo, content_type="text/new")


def deleted(client, repo):
    client.objects.delete(repo, "main", "a")


STATES = pytest.mark.parametrize(
    ("change", "name"), [(copied, "copyObject"), (staged, "stageObject"), (deleted, "deleteObject")]
)


@STATES
@UNKNOWN
def test_no_repeat_touches_what_somebody_else_wrote(lakefs, client, repo, between, change, name, fault):
    old(client, repo)
    client.objects.upload(repo, "main", "source", CONTENT)
    lakefs.faults.add(Fault(name, when="after", **fault))
    between(lambda: lakefs.client.objects.upload(repo, "main", "a", b"theirs"))
    with pytest.raises(errors.Conflict, match=rf"{name}: another version of 'a' was written .* was kept"):
        change(client, repo)
    assert client.objects.get(repo, "main", "a") == b"theirs"


@STATES
@UNKNOWN
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_change_of_an_old_object_is_repeated(lakefs, client, repo, change, name, fault, when):
    old(client, repo)
    client.objects.upload(repo, "main", "source", CONTENT)
    wanted = {copied: CONTENT_MD5, staged: "0" * 32, deleted: None}[change]
    lakefs.faults.add(Fault(name, when=when, **fault))
    change(client, repo)
    now = {entry.path: entry for entry in client.objects.list(repo, "main")}
    assert (now["a"].checksum if "a" in now else None) == wanted
    assert change is not staged or now["a"].content_type == "text/new"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("deleteObjects", lambda client, repo: client.objects.delete_many(repo, "main", ["a"])),
        ("updateObjectUserMetadata", lambda c, repo: c.objects.update_user_metadata(repo, "main", "a", set={"k": "1"})),
    ],
)
def test_what_cannot_be_guarded_is_not_repeated(lakefs, client, repo, name, change, when):
    client.objects.upload(repo, "main", "a", b"1")
    calls = lakefs.faults.calls[name]
    lakefs.faults.add(Fault(name, when=when, action="reset"))
    with pytest.raises(errors.ConnectionFailed):
        change(client, repo)
    assert lakefs.faults.calls[name] == calls + 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_metadata_that_no_header_can_carry_survive_a_lost_message(lakefs, client, repo, when):
    lakefs.faults.add(Fault("updateObjectUserMetadata", when=when, action="reset"))
    transfer.upload_file(client, repo, "main", "a", b"1", metadata={"Größe": "1"})
    assert client.objects.stat(repo, "main", "a").metadata == {"Größe": "1"}


def test_metadata_are_not_set_on_the_object_of_somebody_else(lakefs, client, repo, mocker):
    def lose_and_overwrite(*args, **more):
        lakefs.client.objects.upload(repo, "main", "a", b"theirs")
        raise errors.ConnectionFailed("lost", operation="updateObjectUserMetadata", endpoint="", sent=True)

    mocker.patch.object(client.objects, "update_user_metadata", lose_and_overwrite)
    with pytest.raises(errors.ConnectionFailed):
        transfer.upload_file(client, repo, "main", "a", b"1", metadata={"Größe": "1"})
    assert client.objects.stat(repo, "main", "a").metadata == {}


def test_if_none_match_excludes_a_late_first_attempt(lakefs, client, repo):
    """Two writers of the same bytes must not both have created the object, so nothing is concluded from them."""
    lakefs.faults.add(Fault("uploadObject", when="after", action="reset"))
    with pytest.raises(errors.ConnectionFailed):
        client.objects.upload(repo, "main", "a", b"1", if_none_match="*")
    with pytest.raises(errors.PreconditionFailed):
        transfer.upload_file(client, repo, "main", "a", b"1", if_none_match="*")


def test_a_link_does_not_overwrite_what_somebody_else_wrote(lakefs, client, repo, between):
    place = client.staging.get_physical_address(repo, "main", "a")
    link = {"staging": place, "checksum": "0" * 32, "size_bytes": 3}
    lakefs.faults.add(Fault("linkPhysicalAddress", when="after", action="reset"))
    between(lambda: lakefs.client.objects.upload(repo, "main", "a", b"theirs"))
    with pytest.raises(errors.Conflict, match="was kept"):
        client.staging.link_physical_address(repo, "main", "a", **link)
    assert client.objects.get(repo, "main", "a") == b"theirs"
    client.objects.delete(repo, "main", "a")
    lakefs.faults.add(Fault("linkPhysicalAddress", when="after", action="reset"))
    assert client.staging.link_physical_address(repo, "main", "a", **link).checksum == "0" * 32


# arguments ---------------------------------------------------------------------------------------------


class XComArg:
    """As Airflow's: it has ``__iter__``, which raises."""

    def __iter__(self):
        raise TypeError("'XComArg' object is not iterable")


def text_file():
    return tempfile.NamedTemporaryFile("w+")


def closed_file():
    file = io.BytesIO(b"1")
    file.close()
    return file


def write_only_file():
    return Path(os.devnull).open("wb")


CONTENTS = [
    (lambda: "text", "got text"),
    (XComArg, "got XComArg"),
    (lambda: 5, "got int"),
    (lambda: {"a": 1}, "got dict"),
    (lambda: io.StringIO("text"), "text mode"),
    (text_file, "text mode"),
    (closed_file, "cannot be read"),
    (write_only_file, "cannot be read"),
    (lambda: Path("a"), "got PosixPath"),
    (lambda: ["a", "b"], "got list of str"),
]


@pytest.mark.parametrize(("make", "message"), CONTENTS)
@pytest.mark.parametrize("by", ["upload", "upload_file"])
def test_what_is_no_content_is_refused_before_a_request(lakefs, client, repo, make, message, by):
    content, calls = make(), sum(lakefs.faults.calls.values())
    if by == "upload_file":
        if isinstance(content, str | Path):
            pytest.skip("the path of a file")
        message = message.removesuffix(" of str")
    with pytest.raises(errors.InvalidArgument, match=message) as caught:
        if by == "upload":
            client.objects.upload(repo, "main", "a", content)
        else:
            transfer.upload_file(client, repo, "main", "a", content)
    assert "\n" not in str(caught.value)
    assert sum(lakefs.faults.calls.values()) == calls
    if hasattr(content, "close"):
        content.close()


@pytest.mark.parametrize(
    "content",
    [b"12", bytearray(b"12"), memoryview(b"12"), io.BytesIO(b"12"), [b"1", b"2"], iter([b"1", b"2"]), (b"12",)],
    ids=lambda content: type(content).__name__,
)
def test_what_is_content(client, repo, content):
    assert client.objects.upload(repo, "main", "a", content).size_bytes == 2
    assert client.objects.get(repo, "main", "a") == b"12"


def test_an_iterator_of_text_writes_nothing(client, repo):
    with pytest.raises(errors.InvalidArgument):
        client.objects.upload(repo, "main", "a", iter([b"1", "2"]))
    assert names(client, repo) == []


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("key=value", "mapping of strings to strings, got str"),
        ([("k", "v")], "got list"),
        ({"k": 1}, "metadata 'k' must be a string, got int"),
        ({"k": None}, "metadata 'k' must be a string, got NoneType"),
        ({1: "v"}, "keys of metadata must be strings, got 1"),
        ({"k": "a\nb"}, "metadata 'k' must not have line breaks"),
        ({"k": "v\r\nX-Other: 1"}, "metadata 'k' must not have line breaks"),
        ({"k\n": "v"}, "must not have line breaks"),
    ],
)
def test_metadata_that_cannot_be_sent(lakefs, client, repo, metadata, message):
    calls = sum(lakefs.faults.calls.values())
    with pytest.raises(errors.InvalidArgument, match=message):
        client.objects.upload(repo, "main", "a", b"1", metadata=metadata)
    with pytest.raises(errors.InvalidArgument, match=message):
        transfer.upload_file(client, repo, "main", "a", b"1", metadata=metadata)
    with pytest.raises(errors.InvalidArgument, match=message):
        transfer.open_writer(client, repo, "main", "a", metadata=metadata)
    assert sum(lakefs.faults.calls.values()) == calls


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "must be a non-empty string"),
        (None, "must be a non-empty string"),
        (Path("a"), "must be a non-empty string"),
        ("x" * 1025, "has 1025 bytes"),
        ("é" * 513, "has 1026 bytes"),
        ("/tmp/a.csv", "starts with '/' like the path of a local file"),
    ],
)
def test_paths_that_are_not_for_objects(lakefs, client, repo, path, message, tmp_path):
    calls = sum(lakefs.faults.calls.values())
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(errors.InvalidArgument, match=message):
        transfer.upload_file(client, repo, "main", path, tmp_path / "a")
    with pytest.raises(errors.InvalidArgument, match=message):
        transfer.open_writer(client, repo, "main", path)
    if path != "/tmp/a.csv":
        with pytest.raises(errors.InvalidArgument, match=message):
            client.objects.upload(repo, "main", path, b"1")
        with pytest.raises(errors.InvalidArgument, match=f"dest_path .*{message.split()[-1]}"):
            client.objects.copy(repo, "main", path, src_path="a")
    else:
        with pytest.raises(errors.InvalidArgument, match=message):
            transfer.upload_tree(client, repo, "main", path, tmp_path)
    assert sum(lakefs.faults.calls.values()) == calls


def test_further_arguments_of_a_wrong_type(client, repo, tmp_path):
    with pytest.raises(errors.InvalidArgument, match="content_type must be a string, got int"):
        client.objects.upload(repo, "main", "a", b"1", content_type=5)
    with pytest.raises(errors.InvalidArgument, match="content_type must be a function"):
        transfer.upload_tree(client, repo, "main", "", tmp_path, content_type="text/csv")
    with pytest.raises(errors.InvalidArgument, match=r"is a directory; .* upload_tree"):
        transfer.upload_file(client, repo, "main", "a", tmp_path)


# pickles -----------------------------------------------------------------------------------------------


def test_open_files_refuse_to_be_pickled_in_one_sentence(client, repo):
    client.objects.upload(repo, "main", "a", b"1")
    with transfer.open_reader(client, repo, "main", "a") as reader:
        writer = transfer.open_writer(client, repo, "main", "b")
        for file in (reader, reader.raw, writer):
            with pytest.raises(TypeError, match=r"cannot be pickled.*open it where it is used"):
                pickle.dumps(file)
        assert reader.read() == b"1"
        writer.discard()


def test_results_are_pickled(client, repo, tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    steps = []
    stats = transfer.upload_file(client, repo, "main", "a", tmp_path / "a", progress=steps.append)
    results = [stats, transfer.upload_tree(client, repo, "main", "t", tmp_path), steps[-1], transfer.Cancelled("x")]
    for result in results:
        again = pickle.loads(pickle.dumps(result))
        assert repr(again) == repr(result)
        assert type(again) is type(result)
