"""A fast in-memory server for the benchmarks of all clients, on uvloop.

``python benchmarks/server.py`` prints its address. It only imitates lakeFS: every repository has the same branch, the
same 100,000 objects and the same large object. In the repository ``slow`` each response takes 10 ms.
"""

import asyncio
import hashlib
import json
import os
import sys
from functools import lru_cache
from urllib.parse import parse_qs, unquote, urlsplit

import uvloop

OBJECTS = 100_000
LARGE = 256 << 20
DELAY = 0.01
BLOCK = os.urandom(1 << 18)  # fits into the cache of a core
COMMIT = {
    "id": "7" * 64, "parents": ["6" * 64], "committer": "bench", "message": "one", "creation_date": 1_700_000_000,
    "meta_range_id": "5" * 64, "metadata": {"key": "value"}, "generation": 2, "version": 1,
}  # fmt: skip
STORAGE = {
    "blockstore_type": "local", "blockstore_namespace_example": "local://x/",
    "blockstore_namespace_ValidityRegex": "^local://", "default_namespace_prefix": "local://",
    "pre_sign_support": False, "pre_sign_support_ui": False, "import_support": False, "import_validity_regex": "^local://",
}  # fmt: skip


def stats(path: str, size: int = 1024, checksum: str = "a" * 32) -> dict:
    return {
        "path": path, "path_type": "object", "physical_address": "local://bench/data/" + path, "checksum": checksum,
        "size_bytes": size, "mtime": 1_700_000_000, "metadata": {}, "content_type": "application/octet-stream",
    }  # fmt: skip


@lru_cache(maxsize=2048)
def page(after: str, amount: int) -> bytes:
    start = int(after.removeprefix("data/").removesuffix(".parquet")) + 1 if after else 0
    end = min(start + amount, OBJECTS)
    names = [f"data/{n:08}.parquet" for n in range(start, end)]
    more = end < OBJECTS
    pagination = {
        "has_more": more, "next_offset": names[-1] if more else "", "results": len(names), "max_per_page": 1000
    }  # fmt: skip
    return json.dumps({"pagination": pagination, "results": [stats(n) for n in names]}).encode()


@lru_cache
def large_md5() -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for _ in range(LARGE // len(BLOCK)):
        digest.update(BLOCK)
    return digest.hexdigest()


REF = json.dumps({"id": "main", "commit_id": "7" * 64}).encode()
COMMITTED = json.dumps(COMMIT).encode()
REPOSITORY = json.dumps(
    {"id": "lake", "creation_date": 1, "default_branch": "main", "storage_namespace": "local://bench"}
).encode()
CONFIG = json.dumps(
    {"version_config": {"version": "1.84.0"}, "storage_config": STORAGE, "storage_config_list": [STORAGE]}
).encode()


class Connection(asyncio.BufferedProtocol):
    """One connection; it counts the bytes of bodies and discards them."""

    requests = 0

    def connection_made(self, transport):
        self.transport = transport
        self.buffer = memoryview(bytearray(1 << 20))
        self.filled = self.body = 0
        self.chunked = False
        self.can_write = asyncio.Event()
        self.can_write.set()

    def get_buffer(self, _hint):
        return self.buffer[self.filled :]

    def buffer_updated(self, count):
        self.filled += count
        while self.filled:
            if self.chunked:
                # No client pipelines requests, so data that ends like the last chunk is the last chunk.
                if bytes(self.buffer[max(0, self.filled - 5) : self.filled]) != b"0\r\n\r\n":
                    self.length += self.filled - 5
                    self.drop(self.filled - min(5, self.filled))
                    return
                self.chunked = False
                self.drop(self.filled)
                self.complete()
                continue
            taken = min(self.body, self.filled)
            if taken:
                self.body -= taken
                self.drop(taken)
                if not self.body:
                    self.complete()
                continue
            end = bytes(self.buffer[: min(self.filled, 8192)]).find(b"\r\n\r\n")
            if end < 0:
                return
            self.head(bytes(self.buffer[:end]).decode())
            self.drop(end + 4)
            if not self.body and not self.chunked:
                self.complete()

    def drop(self, count):
        left = self.filled - count
        if left:
            self.buffer[:left] = bytes(self.buffer[count : self.filled])
        self.filled = left

    def head(self, text):
        line, *headers = text.split("\r\n")
        self.method, self.target, _ = line.split(" ")
        named = dict(header.lower().split(": ", 1) for header in headers)
        self.length = self.body = int(named.get("content-length", 0))
        self.range, self.chunked = named.get("range"), "transfer-encoding" in named

    def complete(self):
        parts = urlsplit(self.target)
        path, query = parts.path.removeprefix("/api/v1"), parse_qs(parts.query)
        if path.startswith("/repositories/slow/"):
            asyncio.get_running_loop().call_later(DELAY, self.answer, self.method, path, query)
        else:
            self.answer(self.method, path, query)

    def pause_writing(self):
        self.can_write.clear()

    def resume_writing(self):
        self.can_write.set()

    def answer(self, method, path, query):
        Connection.requests += 1
        tail = path.split("/")[3:]
        name = unquote(query.get("path", [""])[0])
        if path == "/requests":
            self.send(200, b"%d" % Connection.requests)
        elif path == "/config":
            self.send(200, CONFIG)
        elif not tail:
            self.send(200, REPOSITORY)
        elif tail[-1] == "commits" and method == "POST":
            self.send(201, COMMITTED)
        elif tail[0] == "branches" and len(tail) == 2:
            self.send(200, REF)
        elif tail[-1] == "ls":
            self.send(200, page(query.get("after", [""])[0], int(query.get("amount", ["100"])[0] or 100)))
        elif tail[-1] == "stat":
            large = name == "large"
            self.send(200, json.dumps(stats(name, LARGE, large_md5()) if large else stats(name)).encode())
        elif tail[-1] == "delete":
            self.send(200, b'{"errors": []}')
        elif tail[-1] == "objects" and method == "POST":
            checksum = large_md5() if self.length == LARGE else "not computed"
            self.send(201, json.dumps(stats(name, self.length, checksum)).encode())
        elif tail[-1] == "objects" and method == "DELETE":
            self.send(204, b"")
        elif tail[-1] == "objects":
            size = LARGE if name == "large" else 1024
            self.sending = asyncio.ensure_future(self.download(method, size))
        else:
            self.send(404, b'{"message": "invalid API endpoint"}')

    def send(self, status, body, kind=b"application/json"):
        self.transport.write(
            b"HTTP/1.1 %d X\r\nContent-Type: %b\r\nContent-Length: %d\r\nX-Request-Id: 1\r\n\r\n%b"
            % (status, kind, len(body), body)
        )

    async def download(self, method, size):
        start, end, status = 0, size, 200
        if self.range:
            first, _, last = self.range.removeprefix("bytes=").partition("-")
            start, end, status = int(first), min(int(last or size) + 1, size), 206
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {end - start}\r\nAccept-Ranges: bytes\r\n"
        if status == 206:
            head += f"Content-Range: bytes {start}-{end - 1}/{size}\r\n"
        self.transport.write(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode())
        left = 0 if method == "HEAD" else end - start
        while left and not self.transport.is_closing():
            await self.can_write.wait()
            block = BLOCK[:left] if left < len(BLOCK) else BLOCK
            self.transport.write(block)
            left -= len(block)


async def main():
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    page("", 1000)
    large_md5()
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(main())
