"""Measure the S3 gateway of the embedded lakeFS, next to a second server if there is one.

``python benchmarks/gateway.py --compare URL`` measures both in turns, so that other work on the machine affects both.
``benchmarks/embedded.py`` calls it and writes the table to benchmarks/SERVER.md.
"""

import argparse
import importlib.util
import io
import math
import os
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import boto3
import botocore.config
import embedded

CLIENT = Path(__file__).parents[1] / "tests" / "contract" / "s3_client.py"
ROUNDS = 5
SECONDS = 1
THREADS = 8
READ = 50
"""Number of objects that are read in turns."""


def load_client():
    """Return the test suite's S3 client: a library would spend more time on a small request than the server does."""
    spec = importlib.util.spec_from_file_location("s3_client", CLIENT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Zeros(io.RawIOBase):
    """A readable stream of a size, without the time to read a file."""

    def __init__(self, size):
        self.size, self.at = size, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        length = min(len(buffer), self.size - self.at)
        buffer[:length] = bytes(length)
        self.at += length
        return length


class Nowhere(io.RawIOBase):
    """A file that drops everything; boto3 writes to it at offsets, from several requests."""

    def writable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        return offset

    def write(self, data):
        return len(data)


class S3Bench:
    """The measurements of one server."""

    def __init__(self, url, key, secret, namespace, pid=None):
        self.url, self.key, self.secret, self.pid = url, key, secret, pid
        self.repository = f"bench-{uuid.uuid4().hex[:8]}"
        value = {"name": self.repository, "storage_namespace": f"{namespace.rstrip('/')}/{self.repository}"}
        embedded.Caller(url, key, secret)("POST", "/repositories", value)
        self.boto = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1",
            config=botocore.config.Config(
                s3={"addressing_style": "path"}, request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )  # fmt: skip
        self.module = load_client()
        client = self.connection()
        for number in range(READ):
            client.call("PUT", f"/{self.repository}/main/read/{number}", body=b"x")
        client.close()

    def close(self):
        embedded.Caller(self.url, self.key, self.secret)("DELETE", f"/repositories/{self.repository}")

    def connection(self):
        return self.module.S3Client(self.url, self.key, self.secret)

    def put_large(self):
        began = time.perf_counter()
        self.boto.upload_fileobj(Zeros(embedded.LARGE), self.repository, "main/large")
        return (embedded.LARGE >> 20) / (time.perf_counter() - began)

    def put_large_time(self):
        """Return the processor time of the server for a large object, in seconds."""
        before = self.processor_time()
        self.put_large()
        return self.processor_time() - before

    def processor_time(self):
        if self.pid is None:
            return math.nan
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def get_large(self):
        began = time.perf_counter()
        self.boto.download_fileobj(self.repository, "main/large", Nowhere())
        return (embedded.LARGE >> 20) / (time.perf_counter() - began)

    def small(self, method, threads):
        """Return the requests per second of connections in threads."""
        path, done, until = f"/{self.repository}/main/", [0] * threads, time.perf_counter() + SECONDS

        def work(thread):
            client = self.connection()
            signing = self.module.Signing("v4")
            while time.perf_counter() < until:
                key = f"written/{thread}/{done[thread]}" if method == "PUT" else f"read/{done[thread] % READ}"
                answer = client.call(method, f"{path}{key}", signing, body=key.encode() if method == "PUT" else b"")
                if answer.status != 200:
                    raise RuntimeError(answer)
                done[thread] += 1
            client.close()

        began = time.perf_counter()
        workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(done) / (time.perf_counter() - began)

    def measurements(self):
        """Return the measurements: a function that returns one figure, and one that chooses the best figure."""
        return {
            "256 MiB put with boto3, MiB/s": (self.put_large, max),
            "processor time of the server for this put, s": (self.put_large_time, min),
            "256 MiB get with boto3, MiB/s": (self.get_large, max),
            "small puts, one connection, per s": (lambda: self.small("PUT", 1), max),
            "small gets, one connection, per s": (lambda: self.small("GET", 1), max),
            f"small puts, {THREADS} connections, per s": (lambda: self.small("PUT", THREADS), max),
            f"small gets, {THREADS} connections, per s": (lambda: self.small("GET", THREADS), max),
        }

    def peak(self):
        if self.pid is None:
            return None
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))


def measure(benches, rounds=ROUNDS):
    """Return a figure of each measurement for each server, the best of rounds in turns."""
    results = {}
    for what, (_, best) in benches[0].measurements().items():
        figures = [[bench.measurements()[what][0]() for bench in benches] for _ in range(rounds)]
        results[what] = [best(column) for column in zip(*figures, strict=True)]
        print(f"  {what:45} {'  '.join(map(embedded.show, results[what]))}", flush=True)
    results["peak memory, MiB"] = [bench.peak() for bench in benches]
    return results


def table(results, names):
    rows = [["", *names], ["---", *["---:"] * len(names)]]
    rows += [[what, *map(embedded.show, figures)] for what, figures in results.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def add_arguments(parser):
    parser.add_argument("--compare", metavar="URL", help="measure the S3 gateway of this server, too")
    parser.add_argument("--compare-key", default=embedded.KEY)
    parser.add_argument("--compare-secret", default=embedded.SECRET)
    parser.add_argument("--compare-namespace", default="local://bench", help="storage namespace of its repository")
    parser.add_argument("--compare-pid", type=int, help="its process ID, to measure its memory")
    parser.add_argument("--compare-name", default="lakeFS 1.84", help="its name in the table")
    parser.add_argument("--rounds", type=int, default=ROUNDS)


def run(arguments):
    """Measure, and return the table."""
    print("S3 gateway", flush=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        process, url, _ = embedded.serve(Path(folder))
        try:
            benches = [S3Bench(url, embedded.KEY, embedded.SECRET, "local://bench", process.pid)]
            names = ["embedded"]
            if arguments.compare:
                keys = (arguments.compare_key, arguments.compare_secret)
                benches.append(S3Bench(arguments.compare, *keys, arguments.compare_namespace, arguments.compare_pid))
                names.append(arguments.compare_name)
            results = measure(benches, arguments.rounds)
            for bench in benches:
                bench.close()
        finally:
            embedded.stop(process)
    return table(results, names)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    print(run(parser.parse_args()))


if __name__ == "__main__":
    main()
