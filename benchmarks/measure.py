"""Run one measurement of one client: ``python measure.py MEASUREMENT CLIENT URL`` prints the figures as JSON."""

import hashlib
import importlib
import json
import os
import resource
import socket
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LARGE = 256 << 20
WORKERS = 16


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def per_call(run, count):
    run()
    started = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - started) / count


class Ours:
    def __init__(self, url):
        from lakefs_ops import LakeFSClient

        self.client = LakeFSClient(url, access_key_id="key", secret_access_key="secret", pool_size=WORKERS)

    def get(self):
        self.client.branches.get("lake", "main")

    def post(self):
        self.client.commits.create("lake", "main", message="m", metadata={"key": "value"})

    def entries(self):
        return self.client.objects.list("lake", "main")

    def read(self):
        with self.client.objects.open("lake", "main", "large") as stream:
            yield from stream

    def download(self, target):
        with target.open("wb", buffering=0) as file:
            for chunk in self.read():
                file.write(chunk)

    def upload(self, source):
        with source.open("rb", buffering=0) as file:
            self.client.objects.upload("lake", "main", "large", file)

    def delete(self, paths):
        self.client.objects.delete_many("lake", "main", paths)

    def small(self, path, content):
        self.client.objects.upload("slow", "main", path, content)


class Checked(Ours):
    """Our client through `lakefs_ops.transfer`: checksums, resumable downloads, atomic rename."""

    verify = True

    def __init__(self, url):
        from lakefs_ops import transfer

        super().__init__(url)
        self.transfer = transfer

    def download(self, target):
        self.transfer.download_file(self.client, "lake", "main", "large", target, verify=self.verify)

    def upload(self, source):
        self.transfer.upload_file(self.client, "lake", "main", "large", source, verify=self.verify)


class Unchecked(Checked):
    """The same without checksums."""

    verify = False


class MD5:
    """The checksum alone, of bytes in memory."""

    def __init__(self, _url):
        self.data = os.urandom(LARGE)

    def get(self):
        pass

    def download(self, target):
        target.touch()
        os.truncate(target, LARGE)
        self.upload(target)

    def upload(self, _source):
        hashlib.md5(self.data, usedforsecurity=False)


class Sdk:
    def __init__(self, url):
        import lakefs_sdk
        from lakefs_sdk.client import LakeFSClient

        self.sdk = lakefs_sdk
        configuration = lakefs_sdk.Configuration(host=url, username="key", password="secret")
        configuration.connection_pool_maxsize = WORKERS
        self.client = LakeFSClient(configuration)

    def get(self):
        self.client.branches_api.get_branch("lake", "main")

    def post(self):
        creation = self.sdk.CommitCreation(message="m", metadata={"key": "value"})
        self.client.commits_api.commit("lake", "main", creation)

    def entries(self):
        after = ""
        while True:
            page = self.client.objects_api.list_objects("lake", "main", after=after, amount=1000)
            yield from page.results
            if not page.pagination.has_more:
                return
            after = page.pagination.next_offset

    def read(self):
        yield self.client.objects_api.get_object("lake", "main", "large")

    def download(self, target):
        target.write_bytes(self.client.objects_api.get_object("lake", "main", "large"))

    def upload(self, source):
        self.client.objects_api.upload_object("lake", "main", "large", content=str(source))

    def delete(self, paths):
        self.client.objects_api.delete_objects("lake", "main", self.sdk.PathList(paths=paths))

    def small(self, path, content):
        self.client.objects_api.upload_object("slow", "main", path, content=content)


class Wrapper:
    """The package ``lakefs``."""

    def __init__(self, url):
        import lakefs
        from lakefs.client import Client

        self.lakefs, self.client = lakefs, Client(host=url, username="key", password="secret")

    def branch(self, repository):
        return self.lakefs.Repository(repository, client=self.client).branch("main")

    def get(self):
        return self.branch("lake").head

    def entries(self):
        return self.branch("lake").objects()

    def read(self):
        with self.branch("lake").object("large").reader("rb") as reader:
            while chunk := reader.read(1 << 20):
                yield chunk

    def download(self, target):
        with target.open("wb", buffering=0) as file:
            for chunk in self.read():
                file.write(chunk)

    def upload(self, source):
        with source.open("rb") as file, self.branch("lake").object("large").writer("wb") as writer:
            while chunk := file.read(1 << 20):
                writer.write(chunk)

    def small(self, path, content):
        self.branch("slow").object(path).upload(content)


class Socket:
    """A bare socket: the minimum time for a large body on this machine."""

    def __init__(self, url):
        host, port = url.removeprefix("http://").split(":")
        self.host, self.connection = host, socket.create_connection((host, int(port)))

    def send(self, path):
        self.connection.sendall(f"GET /api/v1{path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.connection.recv(1 << 16)
        head, _, body = head.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        yield body
        length -= len(body)
        while length:
            chunk = self.connection.recv(min(length, 1 << 19))
            length -= len(chunk)
            yield chunk

    def get(self):
        return b"".join(self.send("/repositories/lake/branches/main"))

    def read(self):
        return self.send("/repositories/lake/refs/main/objects?path=large")


CLIENTS = {
    "socket": Socket, "ours": Ours, "checked": Checked, "unchecked": Unchecked, "md5": MD5, "sdk": Sdk,
    "lakefs": Wrapper,
}  # fmt: skip


def first(name, url):
    """Measure the import and the first parsed call."""
    started = time.perf_counter()
    CLIENTS[name](url).get()
    return {"seconds": time.perf_counter() - started}


def imported(name, _url):
    module = {"ours": "lakefs_ops", "sdk": "lakefs_sdk"}.get(name, name)
    started = time.perf_counter()
    importlib.import_module(module)
    return {"seconds": time.perf_counter() - started}


def created(name, url):
    """Measure the import and the creation of a client, or the import of the libraries that it depends on."""
    started = time.perf_counter()
    if name == "libraries":
        importlib.import_module("requests")
        _ = importlib.import_module("pydantic").BaseModel
    else:
        CLIENTS[name](url)
    return {"seconds": time.perf_counter() - started}


def get(name, url):
    client = CLIENTS[name](url)
    return {"seconds": per_call(client.get, 1500)}


def post(name, url):
    client = CLIENTS[name](url)
    return {"seconds": per_call(client.post, 1500)}


def iterate(name, url):
    client = CLIENTS[name](url)
    client.get()
    started = time.perf_counter()
    count = sum(1 for entry in client.entries() if entry.path)
    assert count == 100_000, count
    return {"seconds": time.perf_counter() - started, "memory": memory()}


def keep(name, url):
    client = CLIENTS[name](url)
    client.get()
    before, started = memory(), time.perf_counter()
    count = len(list(client.entries()))
    assert count == 100_000, count
    return {"seconds": time.perf_counter() - started, "memory": memory() - before}


def read(name, url):
    client = CLIENTS[name](url)
    client.get()
    before = memory()
    for _ in client.read():
        pass
    started, worked = time.perf_counter(), time.process_time()
    assert sum(len(chunk) for chunk in client.read()) == LARGE
    taken, cpu = time.perf_counter() - started, time.process_time() - worked
    return {"seconds": taken, "cpu": cpu, "memory": memory() - before}


def download(name, url):
    client = CLIENTS[name](url)
    client.get()
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        target = Path(folder) / "target"
        before, started = memory(), time.perf_counter()
        client.download(target)
        seconds = time.perf_counter() - started
        assert target.stat().st_size == LARGE
    return {"seconds": seconds, "memory": memory() - before}


def upload(name, url):
    client = CLIENTS[name](url)
    client.get()
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        source = Path(folder) / "source"
        # The server knows the checksum of this object only, which it has in its answer to the upload.
        urllib.request.urlretrieve(f"{url}/api/v1/repositories/lake/refs/main/objects?path=large", source)
        before = memory()
        client.upload(source)
        started = time.perf_counter()
        client.upload(source)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "memory": memory() - before}


def delete(name, url):
    client = CLIENTS[name](url)
    client.get()
    paths = [f"data/{n:08}.parquet" for n in range(10_000)]
    client.delete(paths[:1000])
    started = time.perf_counter()
    for start in range(0, 10_000, 1000):
        client.delete(paths[start : start + 1000])
    return {"seconds": time.perf_counter() - started}


def small(name, url):
    client, content = CLIENTS[name](url), b"x" * 1024
    client.get()
    before = requests_of(url)
    started = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as threads:
        for _ in threads.map(lambda n: client.small(f"small/{n}", content), range(2000)):
            pass
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "requests": (requests_of(url) - before - 1) / 2000}


def concurrent(name, url):
    client, count = CLIENTS[name](url), 6000
    client.get()
    cpu, started = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as threads:
        for _ in threads.map(lambda _: client.get(), range(count)):
            pass
    return {"seconds": (time.perf_counter() - started) / count, "cpu": (time.process_time() - cpu) / count}


def requests_of(url):
    return int(urllib.request.urlopen(f"{url}/requests").read())


def scratch():
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    measurement, client, url = sys.argv[1:]
    # Checksums are computed in a thread, which uses idle time of the server's core.
    if hasattr(os, "sched_setaffinity") and client not in ("checked", "unchecked", "md5"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps(globals()[measurement](client, url)))
