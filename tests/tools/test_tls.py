"""Every tool over TLS: with the client's CA bundle, without verification, and refused without either."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import deltalake
import duckdb
import obstore
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.fs
import pytest
import s3fs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from obstore.store import from_url

from lakefs_ops import LakeFSClient
from lakefs_ops.pytest_plugin import LakeFS

DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority and a server's certificate that it signed: ``authority.crt`` and ``server.pem``."""
    folder = tmp_path_factory.mktemp("certificates")
    now = datetime.datetime.now(datetime.UTC)
    issuer: tuple[Any, Any] | None = None
    for name in ("authority", "server"):
        key, subject = (
            ec.generate_private_key(ec.SECP256R1()),
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]),
        )
        by, signer = issuer or (subject, key)
        builder = (
            x509.CertificateBuilder(by, subject, key.public_key(), x509.random_serial_number(), now - DAY, now + DAY)
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        if issuer is None:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)  # signs certificates
            builder = builder.add_extension(usage, critical=True)
        else:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        pem = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.crt").write_bytes(pem)
        (folder / f"{name}.pem").write_bytes(pem + private)
        issuer = (subject, key)
    return folder


@pytest.fixture(scope="module")
def endpoint(lakefs: LakeFS, certificates: Path) -> Iterator[str]:
    """The address of a proxy with TLS in front of lakeFS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.pem")
    host, _, port = lakefs.endpoint.removeprefix("http://").partition(":")

    def copy(source: Any, target: Any) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as connection,
                socket.create_connection((host, int(port))) as upstream,
            ):
                back = threading.Thread(target=copy, args=(upstream, connection), daemon=True)
                back.start()
                copy(connection, upstream)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def connect(lakefs: LakeFS, endpoint: str) -> Callable[..., LakeFSClient]:
    def connect(verify: Any) -> LakeFSClient:
        keys = {"access_key_id": lakefs.access_key_id, "secret_access_key": lakefs.secret_access_key}
        return LakeFSClient(endpoint, verify=verify, **keys)

    return connect


def _boto3(options: Any, address: str) -> None:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    s3 = boto3.client("s3", **options)
    s3.put_object(Bucket=bucket, Key=key, Body=b"1")
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"1"


def _s3fs(options: Any, address: str) -> None:
    files = s3fs.S3FileSystem(**options)
    files.pipe(address, b"1")
    assert files.cat(address) == b"1"


def _pandas(options: Any, address: str) -> None:
    pd.DataFrame({"a": [1]}).to_csv(address, storage_options=options)
    assert len(pd.read_csv(address, storage_options=options)) == 1


def _pyarrow(options: Any, address: str) -> None:
    files = pyarrow.fs.S3FileSystem(**options, retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=1))
    with files.open_output_stream(address) as stream:
        stream.write(b"1")
    assert files.get_file_info(address).size == 1


def _polars(options: Any, address: str) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(address, storage_options={"max_retries": 0, **options})
    assert pl.read_parquet(address, storage_options=options).height == 1


def _deltalake(options: Any, address: str) -> None:
    deltalake.write_deltalake(address, pa.table({"a": [1]}), storage_options={"max_retries": "0", **options})
    assert deltalake.DeltaTable(address, storage_options=options).version() == 0


def _obstore(options: Any, address: str) -> None:
    store = from_url(address, **options, retry_config={"max_retries": 0})
    obstore.put(store, "a", b"1")
    assert bytes(obstore.get(store, "a").bytes()) == b"1"


USES: dict[Any, Callable[[Any, str], None]] = {
    "boto3": _boto3,
    "deltalake": _deltalake,
    "obstore": _obstore,
    "pandas": _pandas,
    "polars": _polars,
    "pyarrow": _pyarrow,
    "s3fs": _s3fs,
}


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize(
    ("tool", "verified"),
    # pyarrow always verifies.
    [(tool, verified) for tool in USES for verified in (True, False) if verified or tool != "pyarrow"],
)
def test_a_tool_trusts_what_the_client_trusts(
    connect: Any, certificates: Path, lakefs_repository: str, monkeypatch: Any, tool: Any, verified: bool
) -> None:
    bundle = str(certificates / "authority.crt")
    if tool in ("deltalake", "polars") and verified:  # they have no option for it
        monkeypatch.setenv("SSL_CERT_FILE", bundle)
    with connect(bundle if verified else False) as client:
        USES[tool](client.storage_options(tool), client.storage_uri(tool, lakefs_repository, "main", "x"))
        assert client.branches.diff(lakefs_repository, "main").first()


@pytest.mark.parametrize("tool", ["boto3", "polars", "pyarrow"])
def test_an_unknown_authority_is_refused(
    connect: Any, lakefs: LakeFS, lakefs_repository: str, monkeypatch: Any, tool: Any
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # boto3 tries again for seconds
    with connect(True) as client, pytest.raises(Exception, match=r"(?i)ssl|certificate|tls|error sending request"):
        USES[tool](client.storage_options(tool), client.storage_uri(tool, lakefs_repository, "main", "x"))
    assert not lakefs.client.branches.diff(lakefs_repository, "main").first()


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_duckdb(connect: Any, certificates: Path, duck: Any, lakefs_repository: str) -> None:
    with connect(False) as unverified, connect(str(certificates / "authority.crt")) as verified:
        address = unverified.storage_uri("duckdb", lakefs_repository, "main", "x.csv")
        duck.execute(verified.storage_options("duckdb"))
        duck.execute("SET http_retries = 0")
        with pytest.raises(duckdb.Error, match=r"(?i)ssl|certificate"):
            duck.execute(f"COPY (SELECT 1 AS a) TO '{address}'")
        duck.execute(unverified.storage_options("duckdb"))
        duck.execute(f"COPY (SELECT 1 AS a) TO '{address}'")
        duck.execute(verified.storage_options("duckdb"))
        duck.execute(f"SET ca_cert_file = '{certificates / 'authority.crt'}'")
        assert duck.execute(f"SELECT * FROM '{address}'").fetchall() == [(1,)]
