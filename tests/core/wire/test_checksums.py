"""Checksums that are computed next to a transfer, in a thread."""

import contextlib
import hashlib
import os
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakefs_ops import Retries, errors, transfer
from lakefs_ops.transfer import checksums, downloads
from lakefs_ops.transfer.checksums import BLOCK_SIZE, MAX_QUEUED_BLOCKS, Digest
from lakefs_ops.transfer.progress import Tracker
from lakefs_ops.transfer.workers import run_all

CONTENT = os.urandom(8 * BLOCK_SIZE + 12_345)
MD5 = hashlib.md5(CONTENT).hexdigest()
PART_SIZE = 2 * BLOCK_SIZE


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    ours = ("lakefs-md5", "lakefs-transfer")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(ours)]


@pytest.fixture
def without_threads(monkeypatch):
    def refuse(*_args, **_settings):
        raise AssertionError("a thread was started")

    monkeypatch.setattr(checksums, "ThreadPoolExecutor", refuse)


@pytest.fixture
def gate(monkeypatch):
    """MD5s that wait for an event."""
    opened = threading.Event()

    class Waiting:
        def __init__(self, **settings):
            self._md5 = hashlib.md5(**settings)
            self.hexdigest = self._md5.hexdigest

        def update(self, block):
            assert opened.wait(20)
            self._md5.update(block)

    monkeypatch.setattr(checksums, "hashlib", SimpleNamespace(md5=Waiting))
    yield opened
    opened.set()


class Server:
    """Answers uploads and downloads of one object; `sent` is what it sends instead of the object."""

    def __init__(self, answer, content=CONTENT, sent=None, checksum=None):
        self.answer, self.content, self.sent = answer, content, content if sent is None else sent
        self.checksum = checksum or hashlib.md5(content).hexdigest()
        self.breaks, self.ranges, self.uploaded = False, [], None

    def __call__(self, request, connection):
        stats = {"path": "a", "path_type": "object", "physical_address": "", "checksum": self.checksum, "mtime": 1}
        if request.method == "POST":
            self.uploaded = request.body
            return self.answer(201, {**stats, "size_bytes": len(request.body)})
        if request.path.endswith("/stat"):
            return self.answer(200, {**stats, "size_bytes": len(self.content)})
        asked = request.headers.get("range", f"bytes=0-{len(self.content) - 1}")
        self.ranges.append(asked)
        first, last = map(int, asked.removeprefix("bytes=").split("-"))
        data = self.answer(206, self.sent[first : last + 1], Content_Range=f"bytes {first}-{last}/*")
        if self.breaks:
            connection.sendall(data[:-1000])
            return None
        return data


def download(client, target, **settings):
    settings = {"presign": False, "part_size": PART_SIZE, **settings}
    return transfer.download_file(client, "lake", "main", "a", target, **settings)


# one checksum ------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([0, 1, 100, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1]), max_size=8))
@settings(max_examples=50, deadline=None)
def test_blocks_of_any_size_have_the_md5_of_the_whole(sizes):
    whole = hashlib.md5()
    with contextlib.closing(Digest()) as digest:
        for number, size in enumerate(sizes):
            block = bytes([number]) * size
            whole.update(block)
            digest.update(block)
        assert digest.hexdigest() == whole.hexdigest()


def test_blocks_that_wait_for_their_hash_are_few(gate):
    added, blocked = [], threading.Event()
    with contextlib.closing(Digest()) as digest:

        def add():
            for number in range(3 * MAX_QUEUED_BLOCKS):
                if digest.full:
                    blocked.set()
                digest.update(bytes([number]) * BLOCK_SIZE)
                added.append(number)
            blocked.set()

        thread = threading.Thread(target=add)
        thread.start()
        assert blocked.wait(20)
        assert len(added) == MAX_QUEUED_BLOCKS
        gate.set()
        thread.join()
        assert len(added) == 3 * MAX_QUEUED_BLOCKS
        expected = b"".join(bytes([number]) * BLOCK_SIZE for number in added)
        assert digest.hexdigest() == hashlib.md5(expected).hexdigest()


def test_an_error_of_the_thread_reaches_the_caller():
    text = "x" * BLOCK_SIZE
    with contextlib.closing(Digest()) as digest:
        digest.update(text)
        with pytest.raises(TypeError):
            digest.hexdigest()
    with contextlib.closing(Digest()) as digest, pytest.raises(TypeError):
        for _ in range(MAX_QUEUED_BLOCKS + 1):
            digest.update(text)


def test_closing_drops_the_blocks_that_wait(gate):
    digest = Digest()
    for _ in range(MAX_QUEUED_BLOCKS):
        digest.update(bytes(BLOCK_SIZE))
    threading.Timer(0.01, gate.set).start()
    digest.close()
    assert all(future.cancelled() for future in list(digest._queued)[1:])


# transfers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("part_size", [BLOCK_SIZE // 3, PART_SIZE, 2 * len(CONTENT)])
def test_a_download_is_hashed_whatever_its_parts(client, wire, answer, tmp_path, workers, part_size):
    wire.say(Server(answer))
    download(client, tmp_path / "a", workers=workers, part_size=part_size)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("position", [0, PART_SIZE - 1, 5 * BLOCK_SIZE, len(CONTENT) - 1])
def test_one_wrong_byte_of_a_download_is_noticed(client, wire, answer, tmp_path, workers, position):
    wrong = bytearray(CONTENT)
    wrong[position] ^= 1
    wire.say(Server(answer, sent=bytes(wrong)))
    with pytest.raises(transfer.ChecksumMismatch, match="was corrupted"):
        download(client, tmp_path / "a", workers=workers)
    assert os.listdir(tmp_path) == []


def test_parts_that_arrive_in_reverse_are_hashed(client, wire, answer, tmp_path):
    server, last = Server(answer), threading.Event()

    def reverse(request, connection):
        asked = request.headers.get("range", "")
        if asked.startswith("bytes=0-"):
            assert last.wait(20), "the other parts are requested while this one is on its way"
        if asked.endswith(f"-{len(CONTENT) - 1}"):
            last.set()
        return server(request, connection)

    wire.say(reverse)
    download(client, tmp_path / "a", workers=4)
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["path", "file", "bytes"])
def test_an_upload_is_hashed_and_compared(client, wire, answer, tmp_path, kind):
    server = Server(answer)
    wire.say(server)
    (tmp_path / "a").write_bytes(CONTENT)
    with (tmp_path / "a").open("rb") as file:
        source = {"path": tmp_path / "a", "file": file, "bytes": CONTENT}[kind]
        transfer.upload_file(client, "lake", "main", "a", source, presign=False)
        assert server.uploaded == CONTENT
        server.checksum = hashlib.md5(CONTENT[:-1]).hexdigest()
        file.seek(0)
        with pytest.raises(transfer.ChecksumMismatch, match="the source has"):
            transfer.upload_file(client, "lake", "main", "a", source, presign=False)


def test_a_small_object_needs_no_thread(client, wire, answer, tmp_path, without_threads):
    content = CONTENT[: BLOCK_SIZE - 1]
    wire.say(Server(answer, content))
    transfer.upload_file(client, "lake", "main", "a", content, presign=False)
    download(client, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == content
    wire.say(Server(answer, content, checksum="0" * 32))
    with pytest.raises(transfer.ChecksumMismatch):
        download(client, tmp_path / "b")


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_transfer_leaves_no_thread(client, wire, answer, tmp_path, workers, interruption):
    def interrupt(step):
        if step.bytes_done > len(CONTENT) // 2:
            raise interruption

    server = Server(answer)
    wire.say(server)
    with pytest.raises(interruption):
        download(client, tmp_path / "a", workers=workers, progress=interrupt)
    assert not (tmp_path / "a").exists()
    with pytest.raises(interruption):
        transfer.upload_file(client, "lake", "main", "a", CONTENT, presign=False, progress=interrupt)
    assert len(server.uploaded or b"") < len(CONTENT)
    download(client, tmp_path / "a", workers=workers)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_an_interrupted_comparison_keeps_the_bytes(client, wire, answer, tmp_path, monkeypatch):
    server = Server(answer)
    wire.say(server)
    with monkeypatch.context() as patch:
        patch.setattr(downloads._PrefixHash, "compare", interrupted)
        with pytest.raises(KeyboardInterrupt):
            download(client, tmp_path / "a")
    asked = len(server.ranges)
    download(client, tmp_path / "a")
    assert len(server.ranges) == asked, "all parts are complete"
    assert (tmp_path / "a").read_bytes() == CONTENT


def interrupted(*_args):
    raise KeyboardInterrupt


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("damaged", [False, True])
def test_what_a_resumed_download_has_already_is_hashed_too(connect, wire, answer, tmp_path, workers, damaged):
    client = connect(retries=Retries(count=0))
    server = Server(answer)
    wire.say(server)

    def progress(step):
        server.breaks = step.bytes_done >= 2 * PART_SIZE

    with pytest.raises(errors.ConnectionFailed):
        download(client, tmp_path / "a", workers=1, progress=progress)
    server.breaks, server.ranges = False, []
    if damaged:
        (partial,) = tmp_path.iterdir()
        with partial.open("r+b") as file:
            file.write(bytes(100))
        with pytest.raises(transfer.ChecksumMismatch):
            download(client, tmp_path / "a", workers=workers)
        assert os.listdir(tmp_path) == []
    download(client, tmp_path / "a", workers=workers)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert damaged or "bytes=0-" not in " ".join(server.ranges), "the first part is complete"


def test_a_block_that_the_disk_takes_in_pieces_is_complete(client, wire, answer, tmp_path, monkeypatch):
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, position: write(handle, data[:100_000], position))
    wire.say(Server(answer))
    download(client, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


# workers -----------------------------------------------------------------------------------------------


def test_one_item_at_a_time_as_long_as_others_would_wait():
    running, most, lock = [], [], threading.Lock()
    answers = iter([True] * 5)

    def run(item):
        with lock:
            running.append(item)
            most.append(len(running))
        barrier.wait() if item >= 5 else None
        with lock:
            running.remove(item)
        return item * item

    barrier = threading.Barrier(3, timeout=20)
    tracker = Tracker(None, None, None)
    results = run_all(run, range(8), 3, tracker, limited=lambda: next(answers, False))
    assert results == {item: item * item for item in range(8)}
    assert most[:5] == [1] * 5
