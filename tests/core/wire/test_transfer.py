"""Uploads and downloads: through the server, and to a store with presigned URLs."""

import fcntl
import gc
import hashlib
import io
import json
import os
import threading
import tracemalloc
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakefs_ops import LakeFSClient, Retries, Timeouts, errors, transfer
from lakefs_ops.config import Config
from lakefs_ops.transfer import paths
from lakefs_ops.transfer.progress import bar

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def there(lakefs, lakefs_repository):
    """Writes objects, and reads them back."""

    class There:
        client, repository = lakefs.client, lakefs_repository

        def put(self, **files):
            for path, content in files.items():
                lakefs.client.objects.upload(lakefs_repository, "main", path, content)

        def get(self, path):
            return lakefs.client.objects.get(lakefs_repository, "main", path)

        def names(self, prefix=None):
            return [o.path for o in lakefs.client.objects.list(lakefs_repository, "main", prefix=prefix)]

    return There()


@pytest.fixture
def tree(tmp_path):
    """Creates a directory tree."""

    def make(files, below="source"):
        for name, content in files.items():
            path = tmp_path / below / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / below

    return make


def files_in(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# one object --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "file", "bytes", "middle", "unseekable", "empty"])
def test_upload_and_download_one(there, tmp_path, kind):
    source = tmp_path / "source"
    content = b"" if kind == "empty" else CONTENT
    source.write_bytes(content)
    with source.open("rb") as file:
        given = {"path": source, "file": file, "bytes": content, "empty": str(source)}.get(kind, file)
        if kind == "middle":
            file.seek(1000)
            content = content[1000:]
        if kind == "unseekable":
            given = open_pipe(content)
        stats = transfer.upload_file(
            there.client, there.repository, "main", "a/b", given, content_type="text/x", metadata={"k": "v"}
        )
        if kind == "unseekable":
            given.close()
    assert (stats.size_bytes, stats.content_type) == (len(content), "text/x")
    target = tmp_path / "new" / "target"
    stats = transfer.download_file(there.client, there.repository, "main", "a/b", target)
    assert target.read_bytes() == content
    assert stats.size_bytes == len(content)
    assert os.listdir(target.parent) == ["target"]
    assert there.client.objects.stat(there.repository, "main", "a/b").metadata == {"k": "v"}


def open_pipe(content):
    reader, writer = os.pipe()

    def write():
        with os.fdopen(writer, "wb") as file:
            file.write(content)

    threading.Thread(target=write, daemon=True).start()
    return os.fdopen(reader, "rb")


def test_parts_are_put_together(there, tmp_path):
    there.put(large=CONTENT)
    for part_size in (1, 999, 1024, 10**9):
        content = CONTENT[:50] if part_size == 1 else CONTENT
        there.put(large=content)
        target = tmp_path / "large"
        transfer.download_file(there.client, there.repository, "main", "large", target, part_size=part_size * 100 or 1)
        assert target.read_bytes() == content


def test_only_if_it_is_not_there(there, tmp_path):
    there.put(a=b"old")
    with pytest.raises(errors.PreconditionFailed):
        transfer.upload_file(there.client, there.repository, "main", "a", b"new", if_none_match="*")
    assert there.get("a") == b"old"


@pytest.mark.parametrize("source", [None, 5, iter([b"a"]), io.StringIO("text")])
def test_what_is_no_source_is_refused(there, source):
    with pytest.raises(errors.InvalidArgument, match="binary mode"):
        transfer.upload_file(there.client, there.repository, "main", "a", source)
    assert there.names() == []


def test_bytes_that_may_change_are_a_source(there):
    assert transfer.upload_file(there.client, there.repository, "main", "a", bytearray(b"abc")).size_bytes == 3
    assert there.get("a") == b"abc"


def test_a_directory_is_no_target_of_one_object(there, tmp_path):
    there.put(a=CONTENT)
    (tmp_path / "folder").mkdir()
    with pytest.raises(errors.InvalidArgument, match="is a directory"):
        transfer.download_file(there.client, there.repository, "main", "a", tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_nobody_else_can_write_to_a_target(there, tmp_path, mocker):
    """The partial file is locked until it is the target."""
    there.put(a=CONTENT)
    held = []
    replace = Path.replace

    def replace_with_a_look(partial, target):
        with partial.open("rb") as file, pytest.raises(BlockingIOError):
            held.append(partial)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return replace(partial, target)

    mocker.patch.object(Path, "replace", replace_with_a_look)
    transfer.download_file(there.client, there.repository, "main", "a", tmp_path / "target")
    assert (len(held), (tmp_path / "target").read_bytes()) == (1, CONTENT)


def test_sizes_that_cannot_be(there, tmp_path):
    for wrong in ({"part_size": 0}, {"workers": 0}):
        with pytest.raises(errors.InvalidArgument, match="above 0"):
            transfer.download_file(there.client, there.repository, "main", "a", tmp_path / "a", **wrong)
    with pytest.raises(errors.InvalidArgument, match="above 0"):
        transfer.download_tree(there.client, there.repository, "main", "", tmp_path / "b", part_size=0)
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing(there, tmp_path):
    with pytest.raises(errors.ObjectNotFound):
        transfer.download_file(there.client, there.repository, "main", "none", tmp_path / "x")
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        transfer.upload_file(there.client, there.repository, "main", "a", tmp_path / "none")


def test_progress_and_cancel(there, tmp_path, tree):
    steps, cancel = [], threading.Event()
    source = tree({f"{n}": CONTENT for n in range(4)})
    transfer.upload_tree(there.client, there.repository, "main", "t", source, progress=steps.append)
    assert steps[-1].objects_done == steps[-1].objects_total == 4
    assert max(s.bytes_done for s in steps) == steps[0].bytes_total == 4 * len(CONTENT)

    def stop_at(count):
        def progress(step):
            if step.bytes_done > count:
                cancel.set()

        return progress

    target = tmp_path / "target"
    target.write_bytes(b"as it was")
    with pytest.raises(transfer.Cancelled):
        transfer.download_file(
            there.client, there.repository, "main", "t/1", target, progress=stop_at(10**5), cancel=cancel
        )
    assert target.read_bytes() == b"as it was"
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]
    cancel.clear()
    with pytest.raises(transfer.Cancelled):
        transfer.upload_file(
            there.client, there.repository, "main", "new", source / "1", progress=stop_at(10**5), cancel=cancel
        )
    assert "new" not in there.names()
    cancel.set()
    with pytest.raises(transfer.Cancelled):
        transfer.download_tree(there.client, there.repository, "main", "t", tmp_path / "tree", cancel=cancel)
    assert files_in(tmp_path / "tree") == {}


def test_a_bar(there, capsys):
    with bar("up") as progress:
        transfer.upload_file(there.client, there.repository, "main", "a", CONTENT, progress=progress)
    assert "up" in capsys.readouterr().err


# trees -------------------------------------------------------------------------------------------------

FILES = {"a": b"1", "b/c": b"22", "b/d/e": b"", "b/ü + %2F?#.txt": b"4", "z": CONTENT}


def test_a_tree_there_and_back(there, tree, tmp_path):
    source = tree(FILES)
    up = transfer.upload_tree(there.client, there.repository, "main", "data", source)
    assert list(up.transferred) == sorted(f"data/{name}" for name in FILES)
    assert up.bytes == sum(map(len, FILES.values()))
    there.put(data2=b"beside it")
    down = transfer.download_tree(there.client, there.repository, "main", "data", tmp_path / "target")
    assert files_in(tmp_path / "target") == FILES
    assert down.transferred == up.transferred


def test_what_is_equal_does_not_move(there, tree, tmp_path):
    source = tree(FILES)
    transfer.upload_tree(there.client, there.repository, "main", "", source)
    (source / "a").write_bytes(b"2")
    (source / "new").write_bytes(b"n")
    again = transfer.upload_tree(there.client, there.repository, "main", "", source)
    assert again.transferred == ("a", "new")
    assert len(again.equal) == len(FILES) - 1
    transfer.download_tree(there.client, there.repository, "main", "", tmp_path / "target")
    (tmp_path / "target" / "a").write_bytes(b"3")
    (tmp_path / "target" / "mine").write_bytes(b"3")
    again = transfer.download_tree(there.client, there.repository, "main", "", tmp_path / "target")
    assert again.transferred == ("a",)
    assert files_in(tmp_path / "target") == {**FILES, "a": b"2", "new": b"n", "mine": b"3"}
    every = transfer.download_tree(there.client, there.repository, "main", "", tmp_path / "target", skip_equal=False)
    assert not every.equal


def test_an_object_that_stands_for_a_directory(there, tmp_path):
    there.put(**{"d/": b"", "d/x": b"1"})
    transfer.download_tree(there.client, there.repository, "main", "d", tmp_path / "t")
    assert files_in(tmp_path / "t") == {"x": b"1"}


def test_nothing_there(there, tmp_path):
    assert transfer.download_tree(there.client, there.repository, "main", "no", tmp_path / "t").transferred == ()
    (tmp_path / "empty").mkdir()
    assert transfer.upload_tree(there.client, there.repository, "main", "no", tmp_path / "empty").transferred == ()


def test_links_in_a_source(there, tree, tmp_path):
    source = tree({"a": b"1"})
    (source / "link").symlink_to(tmp_path)
    with pytest.raises(errors.InvalidArgument, match="symbolic link"):
        transfer.upload_tree(there.client, there.repository, "main", "", source)
    (source / "link").unlink()
    (source / "link").symlink_to(source / "a")
    transfer.upload_tree(there.client, there.repository, "main", "", source, follow_symlinks=True)
    assert there.names() == ["a", "link"]
    os.mkfifo(source / "pipe")
    with pytest.raises(errors.InvalidArgument, match="neither"):
        transfer.upload_tree(there.client, there.repository, "main", "", source, follow_symlinks=True)


# names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["../x"], "leaves the directory"),
        (["a/../../x"], "leaves the directory"),
        (["..\\x"], "backslash"),
        (["/etc/passwd"], "absolute"),
        (["C:/x"], "drive letter"),
        (["a/c:x"], "drive letter"),
        (["a//b"], "not a file name"),
        (["./a"], "not a file name"),
        (["a\0b"], "zero byte"),
        (["a", "a/b"], "both a file and a directory"),
        (["a/b/c", "a/b"], "both a file and a directory"),
        (["A/x", "a/y"], "only in case"),
        (["readme", "README"], "only in case"),
        (["caf\u00e9", "cafe\u0301"], "only in Unicode normalization"),
        (["caf\u00e9/a", "cafe\u0301/b"], "its directory differs .* only in Unicode normalization"),
        (["CAF\u00c9", "cafe\u0301"], "only in case and Unicode normalization"),
        (["a/"], "is not empty"),
        (["straße", "STRASSE"], "only in case"),
        (["x" * 256], "valid file name"),
        (["link/x"], "symbolic link"),
        (["link"], "symbolic link"),
        (["file/x"], "is a local file"),
        (["folder"], "is a local directory"),
    ],
)
def test_a_listing_that_leaves_its_target_is_refused_whole(there, tmp_path, names, why):
    target = tmp_path / "target"
    (target / "folder").mkdir(parents=True)
    (target / "file").touch()
    (target / "link").symlink_to(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    there.put(**{"p/fine": b"1"}, **{f"p/{name}": b"bad" for name in names})
    with pytest.raises(paths.UnsafePath, match=why) as caught:
        transfer.download_tree(there.client, there.repository, "main", "p/", target)
    assert caught.value.path in {f"p/{name}" for name in names}
    assert sorted(tmp_path.rglob("*")) == before, "not one byte was written"


def test_names_that_differ_in_case_may_be_allowed(there, tmp_path):
    there.put(a=b"1", A=b"2")
    transfer.download_tree(there.client, there.repository, "main", "", tmp_path, case_sensitive=True)
    assert files_in(tmp_path) == {"a": b"1", "A": b"2"}


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20), max_size=6, unique=True))
@settings(max_examples=300, deadline=None)
def test_whatever_the_names_nothing_leaves_the_target(tmp_path_factory, names):
    target = tmp_path_factory.getbasetemp()
    try:
        planned = paths.plan(names, "", target)
    except paths.UnsafePath as refused:
        assert refused.path in names
        return
    assert list(planned) == names
    assert len(set(planned.values())) == len(names)
    for file in planned.values():
        assert target in file.parents
        assert ".." not in file.parts


NAMES = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60),
    st.text(st.sampled_from("aÄ%?#+&= /.;\\~^@\t\n\"'雪2F"), min_size=1, max_size=12),
    st.sampled_from(["..", ".", "//", "/a", "a/", "a/../b", "%2F", "%252F", "+", " ", "a b+c%20d", "?x=1#y"]),
).filter(lambda name: len(name.encode()) <= 1024)


@given(name=NAMES, content=st.binary(max_size=20))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back_under_the_same_name(there, name, content):
    there.client.objects.upload(there.repository, "main", name, content)
    assert there.client.objects.get(there.repository, "main", name) == content
    assert there.client.objects.stat(there.repository, "main", name).path == name
    assert name in there.names(prefix=name)
    there.client.objects.delete(there.repository, "main", name)
    assert name not in there.names(prefix=name)


# files that are objects --------------------------------------------------------------------------------


def test_a_reader_seeks(there):
    there.put(a=CONTENT)
    with transfer.open_reader(there.client, there.repository, "main", "a", buffer_size=100) as file:
        assert file.readable() and file.seekable() and not file.writable()
        assert file.read(10) == CONTENT[:10]
        assert file.seek(-5, os.SEEK_END) == len(CONTENT) - 5
        assert file.read() == CONTENT[-5:]
        assert file.read(1) == b""
        file.seek(5000)
        assert file.read(3000) == CONTENT[5000:8000]
        file.seek(10, os.SEEK_CUR)
        assert file.tell() == 8010
        assert file.read() == CONTENT[8010:]
        assert file.seek(len(CONTENT) + 100) and file.read() == b""
        with pytest.raises((ValueError, OSError)):
            file.seek(-1)
    there.put(e=b"", lines=b"eins\nzwei\ndrei")
    with transfer.open_reader(there.client, there.repository, "main", "e") as file:
        assert file.read() == b""
    with io.TextIOWrapper(transfer.open_reader(there.client, there.repository, "main", "lines")) as text:
        assert list(text) == ["eins\n", "zwei\n", "drei"]


def test_a_reader_notices_that_the_object_is_another(there):
    there.put(a=CONTENT)
    with transfer.open_reader(there.client, there.repository, "main", "a", buffer_size=10) as file:
        file.read(5)
        there.put(a=CONTENT[::-1])
        file.seek(100_000)
        with pytest.raises(errors.Conflict, match="overwritten"):
            file.read(5)


def test_a_writer(there):
    with transfer.open_writer(there.client, there.repository, "main", "a", content_type="text/x") as file:
        assert file.write(b"one") == 3
        file.write(b"two")
        file.seek(0)
        file.write(b"ONE")
    assert there.get("a") == b"ONEtwo"
    assert file.stats.content_type == "text/x"
    assert file.closed
    file.close()
    with io.TextIOWrapper(transfer.open_writer(there.client, there.repository, "main", "t"), "utf-8") as text:
        text.write("grüße")
    assert there.get("t") == "grüße".encode()
    with io.BufferedWriter(transfer.open_writer(there.client, there.repository, "main", "b")) as buffered:
        buffered.write(b"x" * 100_000)
    assert len(there.get("b")) == 100_000
    with pytest.raises(io.UnsupportedOperation), transfer.open_writer(there.client, there.repository, "main", "r") as w:
        w.read()


def test_text_is_written_through_and_half_of_it_never(there):
    with transfer.open_writer(there.client, there.repository, "main", "a") as file:
        text = io.TextIOWrapper(file, "utf-8", write_through=True)
        text.write("grüße")
    assert there.get("a") == "grüße".encode()
    with pytest.raises(RuntimeError), transfer.open_writer(there.client, there.repository, "main", "b") as file:
        text = io.TextIOWrapper(file, "utf-8", write_through=True)
        text.write("half")
        raise RuntimeError
    del text
    gc.collect()
    assert there.names() == ["a"]


def test_a_writer_that_fails_writes_nothing(there):
    with pytest.raises(RuntimeError), transfer.open_writer(there.client, there.repository, "main", "a") as file:
        file.write(b"half")
        raise RuntimeError
    writer = transfer.open_writer(there.client, there.repository, "main", "a")
    with pytest.warns(ResourceWarning, match="never closed"):
        del writer
    assert there.names() == []


# memory ------------------------------------------------------------------------------------------------


def test_memory_is_constant(connect, wire, answer, tmp_path):
    size = 64 << 20
    block = os.urandom(1 << 20)
    checksum = hashlib.md5(block * 64).hexdigest()
    stats = {"path": "a", "path_type": "object", "physical_address": "", "checksum": checksum, "mtime": 1}

    def reply(request, connection):
        if request.path.endswith("/stat"):
            return answer(200, {**stats, "size_bytes": size})
        if request.method == "POST":
            return answer(201, {**stats, "size_bytes": len(request.body)})
        first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        connection.sendall(
            b"HTTP/1.1 206 P\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n"
            % (first, last, size, last - first + 1)
        )
        for _ in range(first, last + 1, 1 << 20):
            connection.sendall(block)
        return b""

    wire.say(reply)
    client = connect(timeouts=Timeouts(connect=2, read=10))
    target = tmp_path / "large"
    tracemalloc.start()
    try:
        transfer.download_file(client, "lake", "main", "a", target, presign=False)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()
    assert target.stat().st_size == size


# broken answers ----------------------------------------------------------------------------------------


class Objects:
    """A lakeFS with one object; the next `breaks` responses break in the middle."""

    def __init__(self, answer, content=CONTENT, checksum=None):
        self.answer, self.content = answer, content
        self.checksum = checksum or hashlib.md5(content).hexdigest()
        self.breaks = 0
        self.ranges = True
        self.asked = []

    def __call__(self, request, connection):
        if request.path.endswith("/stat"):
            return self.answer(200, self.stats)
        asked = request.headers.get("range", f"bytes=0-{len(self.content) - 1}")
        self.asked.append(asked)
        first, last = map(int, asked.removeprefix("bytes=").split("-"))
        if not self.ranges:
            return self.answer(200, self.content, ETag=f'"{self.checksum}"')
        body = self.content[first : last + 1]
        data = self.answer(206, body, ETag=f'"{self.checksum}"', Content_Range=f"bytes {first}-{last}/*")
        if self.breaks:
            self.breaks -= 1
            connection.sendall(data[: -len(body) // 2])
            return None
        return data

    @property
    def stats(self):
        return {
            "path": "a", "path_type": "object", "physical_address": "", "checksum": self.checksum, "mtime": 1,
            "size_bytes": len(self.content),
        }  # fmt: skip


def test_a_broken_answer_is_taken_up_where_it_broke(client, wire, answer, tmp_path):
    objects = Objects(answer)
    objects.breaks = 2
    wire.say(objects)
    transfer.download_file(client, "lake", "main", "a", tmp_path / "a", presign=False)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert len(objects.asked) == 3
    assert len({int(asked[6:].split("-")[0]) for asked in objects.asked}) == 3


def meeting(reply, count):
    """Delays responses until `count` requests for bytes are in flight."""
    all_here = threading.Barrier(count, timeout=10)

    def wait(request, connection):
        if not request.path.endswith("/stat"):
            all_here.wait()
        return reply(request, connection)

    return wait


def test_parts_come_at_the_same_time(client, wire, answer, tmp_path):
    objects = Objects(answer)
    wire.say(meeting(objects, 3))
    part_size = -(-len(CONTENT) // 6)
    settings = {"presign": False, "part_size": part_size, "workers": 3}
    transfer.download_file(client, "lake", "main", "a", tmp_path / "a", **settings)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert len(objects.asked) == 6
    assert wire.peak == 3


def test_files_of_a_tree_go_at_the_same_time(client, wire, answer, tree):
    def store(request, _connection):
        digest = hashlib.md5(request.body).hexdigest()
        stats = {"path_type": "object", "physical_address": "", "checksum": digest, "mtime": 1}
        return answer(201, {**stats, "path": "a", "size_bytes": len(request.body)})

    wire.say(meeting(store, 4))
    source = tree({str(n): b"x" * n for n in range(8)})
    settings = {"presign": False, "skip_equal": False, "workers": 4}
    assert len(transfer.upload_tree(client, "lake", "main", "", source, **settings).transferred) == 8
    assert wire.peak == 4


def test_a_part_that_is_a_link_here_is_not_written_through(connect, wire, answer, tmp_path):
    client = connect(retries=Retries(count=0))
    objects = Objects(answer)
    objects.breaks = 10**6
    wire.say(objects)
    with pytest.raises(errors.ConnectionFailed):
        transfer.download_file(client, "lake", "main", "a", tmp_path / "a", presign=False)
    (part,) = tmp_path.iterdir()
    part.unlink()
    outside = tmp_path / "outside"
    outside.write_bytes(b"theirs")
    part.symlink_to(outside)
    objects.breaks = 0
    transfer.download_file(client, "lake", "main", "a", tmp_path / "a", presign=False)
    assert outside.read_bytes() == b"theirs"
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert part.is_symlink(), "it belongs to somebody else"


def test_a_download_goes_on_where_the_last_one_ended(connect, wire, answer, tmp_path):
    client = connect(retries=Retries(count=0))
    objects = Objects(answer)
    wire.say(objects)
    seen = []

    def progress(step):
        if not seen and step.bytes_done >= 300_000:
            seen.append(step)
            objects.breaks = 10**6

    settings = {"presign": False, "part_size": 100_000, "workers": 1}
    with pytest.raises(errors.ConnectionFailed):
        transfer.download_file(client, "lake", "main", "a", tmp_path / "a", progress=progress, **settings)
    assert not (tmp_path / "a").exists()
    objects.breaks, first = 0, list(objects.asked)
    transfer.download_file(client, "lake", "main", "a", tmp_path / "a", **settings)
    assert (tmp_path / "a").read_bytes() == CONTENT
    again = objects.asked[len(first) :]
    assert len(again) <= 9
    assert not set(first[:3]) & set(again), "what is complete is not asked for again"
    assert os.listdir(tmp_path) == ["a"]


def test_parts_of_two_versions_never_meet(connect, wire, answer, tmp_path):
    client = connect(retries=Retries(count=0))
    objects = Objects(answer)
    wire.say(objects)
    settings = {"presign": False, "part_size": 100_000, "workers": 1}

    def progress(step):
        objects.breaks = 10**6 if step.bytes_done >= 300_000 else 0

    with pytest.raises(errors.ConnectionFailed):
        transfer.download_file(client, "lake", "main", "a", tmp_path / "a", progress=progress, **settings)
    other = Objects(answer, CONTENT[::-1])
    wire.say(other)
    transfer.download_file(client, "lake", "main", "a", tmp_path / "a", **settings)
    assert (tmp_path / "a").read_bytes() == CONTENT[::-1]
    assert len(other.asked) == 11


def test_wrong_bytes_never_reach_the_target(client, wire, answer, tmp_path):
    wire.say(Objects(answer, checksum="0" * 32))
    with pytest.raises(transfer.ChecksumMismatch, match="was corrupted"):
        transfer.download_file(client, "lake", "main", "a", tmp_path / "a", presign=False)
    assert os.listdir(tmp_path) == []
    transfer.download_file(client, "lake", "main", "a", tmp_path / "a", presign=False, verify=False)
    wire.say(Objects(answer, checksum=f"{'0' * 32}-3"))
    transfer.download_file(client, "lake", "main", "a", tmp_path / "a", presign=False)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_an_object_that_changes_meanwhile(client, wire, answer, tmp_path):
    objects = Objects(answer)

    def changing(request, connection):
        data = objects(request, connection)
        objects.checksum = "1" * 32
        return data

    wire.say(changing)
    with pytest.raises(errors.Conflict, match="overwritten"):
        transfer.download_file(client, "lake", "main", "a", tmp_path / "a", presign=False)
    assert os.listdir(tmp_path) == []


def test_a_proxy_that_ignores_ranges(client, wire, answer, tmp_path):
    objects = Objects(answer)
    objects.ranges = False
    wire.say(objects)
    transfer.download_file(client, "lake", "main", "a", tmp_path / "a", presign=False, part_size=300_000)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_two_downloads_of_one_object_at_once(client, wire, answer, tmp_path):
    wire.say(Objects(answer))
    threads = [
        threading.Thread(
            target=transfer.download_file,
            args=(client, "lake", "main", "a", tmp_path / "a"),
            kwargs={"presign": False, "part_size": 10_000},
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["a"]


def test_an_upload_that_arrives_otherwise(client, wire, answer):
    stats = {"path": "a", "path_type": "object", "physical_address": "", "checksum": "0" * 32, "mtime": 1}
    wire.say(answer(201, {**stats, "size_bytes": 3}))
    with pytest.raises(transfer.ChecksumMismatch):
        transfer.upload_file(client, "lake", "main", "a", b"abc", presign=False)
    wire.say(answer(201, {**stats, "size_bytes": 2}))
    with pytest.raises(transfer.ChecksumMismatch, match="2 bytes"):
        transfer.upload_file(client, "lake", "main", "a", b"abc", presign=False, verify=False)


def test_a_reader_takes_up_a_broken_answer(client, wire, answer):
    objects = Objects(answer)
    objects.breaks = 1
    wire.say(objects)
    with transfer.open_reader(client, "lake", "main", "a", presign=False) as file:
        assert file.read() == CONTENT


def test_a_reader_has_its_retries_again_after_progress_and_a_part_has_not(connect, wire, answer, tmp_path):
    client = connect(retries=Retries(count=1))
    objects = Objects(answer)
    wire.say(objects)
    objects.breaks = 3
    with transfer.open_reader(client, "lake", "main", "a", presign=False, buffer_size=1000) as file:
        assert file.read() == CONTENT
    assert len(objects.asked) == 4
    objects.breaks = 3
    with pytest.raises(errors.ConnectionFailed):
        transfer.download_file(client, "lake", "main", "a", tmp_path / "a", presign=False)
    assert len(objects.asked) == 6


def test_a_reader_reads_on_after_its_retries_were_used_up(connect, wire, answer):
    client = connect(retries=Retries(count=0))
    objects = Objects(answer)
    wire.say(objects)
    objects.breaks = 1
    with transfer.open_reader(client, "lake", "main", "a", presign=False, buffer_size=1000) as file:
        with pytest.raises(errors.ConnectionFailed):
            file.read()
        position = file.tell()
        assert file.read() == CONTENT[position:]


# a store that hands out addresses ----------------------------------------------------------------------


class Presigning:
    """A lakeFS whose store is ``store``, and that store."""

    def __init__(self, answer, store, *, multipart=False, encryption=None):
        self.answer, self.store = answer, store
        self.objects, self.checksums, self.parts, self.linked, self.aborted = {}, {}, {}, [], []
        self.multipart, self.encryption = multipart, encryption
        self.refuse, self.signature, self.ended = False, 1, 0
        storage = {
            "blockstore_type": "s3", "blockstore_namespace_example": "", "blockstore_namespace_ValidityRegex": "",
            "pre_sign_support": True, "pre_sign_support_ui": False, "import_support": True,
            "import_validity_regex": "", "pre_sign_multipart_upload": multipart,
        }  # fmt: skip
        self.config = {"storage_config": storage, "version_config": {"version": "1.84.0"}}

    def stats(self, path, presign=False):
        content = self.objects[path]
        address = f"{self.store.endpoint}/{path}?sig=1" if presign else "s3://x"
        return {
            "path": path, "path_type": "object", "physical_address": address, "mtime": 1, "content_type": "text/x",
            "checksum": self.checksums.get(path, hashlib.md5(content).hexdigest()), "size_bytes": len(content),
        }  # fmt: skip

    def tags(self, content):
        """What the store says of its bytes: with a key of its own or AES256 an MD5, otherwise what looks like one."""
        if self.encryption in (None, "AES256"):
            tag = hashlib.md5(content).hexdigest()
        else:
            tag = hashlib.md5(b"a key" + content).hexdigest()
        return {"ETag": f'"{tag}"'} | ({"x_amz_server_side_encryption": self.encryption} if self.encryption else {})

    def lakefs(self, request, _connection):
        path = parse_qs(urlsplit(request.target).query).get("path", [""])[0]
        tail = request.path.split("/")[7:]
        if request.path.endswith("/config"):
            return self.answer(200, self.config)
        if tail == ["staging", "backing"] and request.method == "GET":
            place = {"physical_address": f"s3://x/{path},sig", "presigned_url": f"{self.store.endpoint}/{path}?sig=1"}
            return self.answer(200, place)
        if tail == ["staging", "backing"]:
            self.linked.append(json.loads(request.body))
            self.checksums[path] = self.linked[-1]["checksum"]
            return self.answer(200, self.stats(path))
        if tail == ["staging", "pmpu"]:
            count = int(parse_qs(urlsplit(request.target).query)["parts"][0])
            urls = [f"{self.store.endpoint}/part/{n}?sig=1" for n in range(1, count + 1)]
            return self.answer(201, {"upload_id": "u", "physical_address": "s3://x", "presigned_urls": urls})
        if tail[:2] == ["staging", "pmpu"] and "parts" in tail:
            self.signature += 1
            return self.answer(200, {"presigned_url": f"{self.store.endpoint}/part/{tail[-1]}?sig={self.signature}"})
        if tail[:2] == ["staging", "pmpu"] and request.method == "PUT":
            asked = json.loads(request.body)["parts"]
            assert [p["part_number"] for p in asked] == sorted(self.parts)
            assert [p["etag"] for p in asked] == [hashlib.md5(self.parts[n]).hexdigest() for n in sorted(self.parts)]
            self.objects[path] = b"".join(self.parts[n] for n in sorted(self.parts))
            digests = b"".join(hashlib.md5(self.parts[n]).digest() for n in sorted(self.parts))
            self.checksums[path] = f"{hashlib.md5(digests).hexdigest()}-{len(self.parts)}"
            return self.answer(200, self.stats(path))
        if tail[:2] == ["staging", "pmpu"]:
            self.aborted.append(path)
            return self.answer(204)
        if tail == ["objects", "ls"]:
            found = [self.stats(path) for path in sorted(self.objects)]
            pagination = {"has_more": False, "next_offset": "", "results": len(found), "max_per_page": 1000}
            return self.answer(200, {"pagination": pagination, "results": found})
        if tail == ["objects"] and request.method == "POST":
            self.objects[path] = request.body
            return self.answer(201, self.stats(path))
        assert tail == ["objects", "stat"], request.target
        return self.answer(200, self.stats(path, presign="presign=true" in request.target))

    def bucket(self, request, _connection):
        assert "authorization" not in request.headers
        signature = int(parse_qs(urlsplit(request.target).query)["sig"][0])
        name = request.path.removeprefix("/")
        if request.method == "PUT":
            if self.refuse or signature <= self.ended:
                return self.answer(403, b"<Error/>", Content_Type="application/xml")
            if name.startswith("part/"):
                self.parts[int(name.split("/")[1])] = request.body
            else:
                self.objects[name] = request.body
            return self.answer(200, **self.tags(request.body))
        if "range" not in request.headers:
            return self.answer(
                200, self.objects[name], Content_Type="binary/octet-stream", **self.tags(self.objects[name])
            )
        first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        body = self.objects[name][first : last + 1]
        said = self.tags(self.objects[name]) | {"Content_Range": f"bytes {first}-{last}/*"}
        return self.answer(206, body, Content_Type="binary/octet-stream", **said)


@pytest.fixture
def presigning(wire, other, answer):
    def make(**settings):
        fake = Presigning(answer, other, **settings)
        wire.say(fake.lakefs)
        other.say(fake.bucket)
        return fake

    return make


def test_bytes_go_to_the_store_where_it_is_offered(client, presigning, tmp_path, wire, other):
    fake = presigning()
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    transfer.upload_file(client, "lake", "main", "a", source, content_type="text/x", metadata={"k": "v"})
    assert fake.objects == {"a": CONTENT}
    linked = fake.linked[0]
    assert linked["staging"]["physical_address"] == "s3://x/a,sig"
    assert (linked["size_bytes"], linked["user_metadata"], linked["content_type"]) == (
        len(CONTENT),
        {"k": "v"},
        "text/x",
    )
    transfer.download_file(client, "lake", "main", "a", tmp_path / "target", part_size=400_000)
    assert (tmp_path / "target").read_bytes() == CONTENT
    assert sum(len(r.body) for r in wire.requests) < 2000, "none of it went through the server"
    assert len([r for r in wire.requests if r.path.endswith("/config")]) == 1, "asked once a client"


def test_an_object_that_changes_while_the_store_is_read(client, presigning, tmp_path):
    fake = presigning()
    transfer.upload_file(client, "lake", "main", "a", CONTENT)

    def progress(step):
        if step.bytes_done:
            fake.objects["a"], fake.checksums["a"] = CONTENT[::-1], hashlib.md5(CONTENT[::-1]).hexdigest()

    with pytest.raises(errors.Conflict, match="overwritten"):
        transfer.download_file(
            client, "lake", "main", "a", tmp_path / "a", part_size=100_000, workers=1, progress=progress
        )
    assert os.listdir(tmp_path) == []


def test_a_reader_reads_from_the_store(client, presigning, wire, other):
    presigning()
    transfer.upload_file(client, "lake", "main", "a", CONTENT)
    with transfer.open_reader(client, "lake", "main", "a", buffer_size=100) as file:
        file.seek(1000)
        assert file.read(10) == CONTENT[1000:1010]
    assert other.requests[-1].headers["range"] == f"bytes=1000-{len(CONTENT) - 1}"
    with transfer.open_reader(client, "lake", "main", "a") as file:
        assert file.read() == CONTENT
    assert not any(r.method == "GET" and r.path.endswith("/objects") for r in wire.requests)


def test_what_is_too_large_for_the_store_at_once_goes_through_the_server(client, presigning, other, monkeypatch):
    fake = presigning()
    monkeypatch.setattr("lakefs_ops.transfer.uploads.MAX_SINGLE_PUT", 10)
    transfer.upload_file(client, "lake", "main", "a", b"0123456789")
    assert [r.method for r in other.requests] == ["PUT"]
    transfer.upload_file(client, "lake", "main", "b", b"0123456789a")
    assert [r.method for r in other.requests] == ["PUT"]
    assert fake.objects["b"] == b"0123456789a"


def test_a_tree_of_objects_in_parts_is_compared(client, presigning, tmp_path, monkeypatch):
    monkeypatch.setattr("lakefs_ops.transfer.workers.PART_SIZE", 1 << 20)
    monkeypatch.setattr("lakefs_ops.transfer.checksums.PART_SIZES", (1 << 20, 1 << 19))
    fake = presigning(multipart=True)
    source = tmp_path / "source"
    source.mkdir()
    content = os.urandom((2 << 20) + 1)
    (source / "a").write_bytes(content)
    transfer.upload_file(client, "lake", "main", "a", source / "a", part_size=1 << 20)
    assert fake.checksums["a"].endswith("-3")
    assert transfer.upload_tree(client, "lake", "main", "", source).equal == ("a",)
    assert transfer.download_tree(client, "lake", "main", "", source).equal == ("a",)
    (source / "a").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    fake.parts.clear()
    assert transfer.download_tree(client, "lake", "main", "", source).transferred == ("a",)
    assert (source / "a").read_bytes() == content
    fake.checksums["a"] = f"{'0' * 32}-7"  # of parts of an unknown size
    assert transfer.download_tree(client, "lake", "main", "", source).transferred == ("a",)


def test_large_files_go_in_parts(client, presigning, tmp_path):
    fake = presigning(multipart=True)
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    transfer.upload_file(client, "lake", "main", "a", source, part_size=100_000)
    assert fake.objects == {"a": CONTENT}
    assert len(fake.parts) == 11
    assert not fake.aborted
    transfer.upload_file(client, "lake", "main", "b", b"small")
    assert fake.objects["b"] == b"small"


def grow(file):
    with file.open("ab") as log:
        log.write(b"a further line")


def rewrite(file):
    with file.open("r+b") as data:
        data.write(b"other")
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


def replace_by_another(file):
    file.with_name("new").write_bytes(CONTENT[::-1] + b"longer")
    file.with_name("new").replace(file)


@pytest.mark.parametrize("part_size", [100_000, 10**7], ids=["parts", "whole"])
@pytest.mark.parametrize("change", [grow, rewrite, lambda file: os.truncate(file, 10), replace_by_another])
def test_a_file_that_changes_on_its_way_to_the_store(client, presigning, tmp_path, part_size, change):
    fake = presigning(multipart=True)
    source = tmp_path / "source"
    source.write_bytes(CONTENT * 3)
    changes = [change]

    def progress(step):
        if step.bytes_done and changes:
            changes.pop()(source)

    def upload():
        transfer.upload_file(
            client, "lake", "main", "a", source, part_size=part_size, workers=1, progress=progress, verify=False
        )

    if change is grow or (change is replace_by_another and part_size == 10**7):
        upload()  # A file that was replaced is still read to its end.
        assert fake.objects["a"] == CONTENT * 3
        return
    with pytest.raises(errors.InvalidArgument, match=r"changed by another program|became shorter"):
        upload()
    assert not fake.linked
    assert fake.aborted == (["a"] if part_size == 100_000 else [])


def test_addresses_that_end_while_the_parts_are_sent(client, presigning, tmp_path):
    fake = presigning(multipart=True)
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    done = []

    def progress(step):
        done.append(step.bytes_done)
        fake.ended = 1 if step.bytes_done > 400_000 else 0  # the addresses from the start

    transfer.upload_file(client, "lake", "main", "a", source, part_size=100_000, workers=1, progress=progress)
    assert fake.objects == {"a": CONTENT}
    assert fake.signature > 5, "fresh addresses were asked for"
    assert done[-1] == max(done) == len(CONTENT), "what is sent again counts once"
    assert not fake.aborted


@pytest.mark.parametrize("encryption", ["aws:kms", "aws:kms:dsse"])
@pytest.mark.parametrize("content", [CONTENT, b""], ids=["bytes", "nothing"])
def test_a_store_that_encrypts_has_etags_that_are_no_md5(client, presigning, tmp_path, encryption, content):
    fake = presigning(encryption=encryption)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content)
    stats = transfer.upload_file(client, "lake", "main", "a", source)
    assert stats.checksum == hashlib.md5(content).hexdigest(), "what was sent, not what the store calls it"
    transfer.download_file(client, "lake", "main", "a", target, part_size=400_000)
    assert target.read_bytes() == content
    assert fake.linked[0]["size_bytes"] == len(content)


def test_an_object_that_others_linked_under_an_etag(client, presigning, tmp_path):
    fake = presigning(encryption="aws:kms")
    transfer.upload_file(client, "lake", "main", "a", CONTENT, verify=False)
    assert fake.checksums["a"] != hashlib.md5(CONTENT).hexdigest(), "the ETag of the store"
    transfer.download_file(client, "lake", "main", "a", tmp_path / "target", part_size=400_000)
    assert (tmp_path / "target").read_bytes() == CONTENT


@pytest.mark.parametrize("encryption", [None, "AES256", "aws:kms"])
def test_what_the_store_mixed_up_is_noticed(client, presigning, tmp_path, encryption):
    fake = presigning(encryption=encryption)
    transfer.upload_file(client, "lake", "main", "a", CONTENT)
    fake.objects["a"] = CONTENT[::-1]
    with pytest.raises(transfer.ChecksumMismatch):
        transfer.download_file(client, "lake", "main", "a", tmp_path / "target", part_size=400_000)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("metadata", [{"k": "v"}, {"My-Key": "v"}, {"Größe": "5"}, {"k": " v "}, {}])
def test_metadata_arrives_as_it_was_given(there, tmp_path, metadata):
    stats = transfer.upload_file(there.client, there.repository, "main", "a", b"1", metadata=metadata)
    assert stats.metadata == metadata
    assert there.client.objects.stat(there.repository, "main", "a").metadata == metadata
    assert transfer.download_file(there.client, there.repository, "main", "a", tmp_path / "a").metadata == metadata


def test_a_large_file_is_hashed_beside_the_sending(there, tmp_path):
    source, content = tmp_path / "source", os.urandom(5_000_000)
    source.write_bytes(content)
    before = threading.active_count()
    stats = transfer.upload_file(there.client, there.repository, "main", "large", source)
    assert stats.checksum == hashlib.md5(content).hexdigest()
    assert threading.active_count() <= before + 1, "its thread has ended"
    transfer.download_file(there.client, there.repository, "main", "large", tmp_path / "target", part_size=600_000)
    assert (tmp_path / "target").read_bytes() == content


def test_an_upload_in_parts_that_fails_is_given_up(client, presigning, tmp_path):
    fake = presigning(multipart=True)
    fake.refuse = True
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    with pytest.raises(errors.PermissionDenied):
        transfer.upload_file(client, "lake", "main", "a", source, part_size=100_000)
    assert fake.aborted == ["a"]
    assert not fake.objects


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "SlowDown"), (500, "InternalError"), (500, "OperationTimedOut"), (400, "RequestTimeout")],
)
def test_a_store_that_is_busy_is_asked_again(client, presigning, other, answer, tmp_path, status, code):
    fake = presigning()
    busy = answer(
        status, f"<?xml version='1.0'?>\n<Error><Code>{code}</Code></Error>".encode(), Content_Type="text/xml"
    )
    other.say(busy, fake.bucket)
    transfer.upload_file(client, "lake", "main", "a", CONTENT)
    assert fake.objects == {"a": CONTENT}
    other.say(busy, fake.bucket)
    transfer.download_file(client, "lake", "main", "a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_what_the_store_refuses_for_good_is_not_asked_again(client, presigning, other, answer):
    presigning()
    other.say(answer(400, b"<Error><Code>EntityTooLarge</Code></Error>", Content_Type="application/xml"))
    with pytest.raises(errors.BadRequest, match="EntityTooLarge"):
        transfer.upload_file(client, "lake", "main", "a", CONTENT)
    assert len(other.requests) == 1


def test_presigned_addresses_that_are_not_offered(client, presigning, other):
    fake = presigning()
    fake.config["storage_config"]["pre_sign_support"] = False
    with pytest.raises(errors.InvalidArgument, match="not support presigned"):
        transfer.upload_file(client, "lake", "main", "a", b"1", presign=True)
    with pytest.raises(errors.InvalidArgument, match="not support presigned"):
        transfer.open_reader(client, "lake", "main", "a", presign=True)
    transfer.upload_file(client, "lake", "main", "a", b"1")
    assert fake.objects == {"a": b"1"}
    assert not other.requests


def test_workers_never_exceed_the_pool(lakefs, lakefs_repository, tree):
    config = Config(
        endpoint=lakefs.endpoint, access_key_id=lakefs.access_key_id, secret_access_key=lakefs.secret_access_key,
        pool_size=2,
    )  # fmt: skip
    source = tree({str(n): b"x" for n in range(40)})
    threads = set()

    def progress(_step):
        threads.add(threading.get_ident())

    with LakeFSClient(config=config) as client:
        done = transfer.upload_tree(client, lakefs_repository, "main", "", source, workers=32, progress=progress)
        assert len(done.transferred) == 40
        assert len(threads) <= 2
        with pytest.raises(errors.InvalidArgument):
            transfer.upload_tree(client, lakefs_repository, "main", "", source, workers=0)
