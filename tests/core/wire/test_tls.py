"""Certificates: of authorities, of the server, of the client; and tunnels through proxies."""

import contextlib
import datetime
import ipaddress
import socket
import socketserver
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from lakefs_ops import Retries, Timeouts, errors

x509 = pytest.importorskip("cryptography.x509")

COMMIT = {"id": "7", "parents": [], "committer": "", "message": "", "creation_date": 1, "meta_range_id": ""}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, and what it certifies: a file for each."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("certificates")
    now = datetime.datetime.now(datetime.UTC)

    def make(name, issuer=None):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        authority = issuer is None
        signer = key if authority else issuer[1]
        signed = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if authority else issuer[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(
                    **dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment"), False),
                    **dict.fromkeys(("key_agreement", "encipher_only", "decipher_only"), False),
                    digital_signature=True,
                    key_cert_sign=authority,
                    crl_sign=authority,
                ),
                critical=True,
            )
            .sign(signer, hashes.SHA256())
        )
        pem = signed.public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.pem").write_bytes(pem + private)
        (folder / f"{name}.crt").write_bytes(pem)
        (folder / f"{name}.key").write_bytes(private)
        return subject, key

    authority = make("authority")
    make("server", authority)
    make("client", authority)
    make("stranger")
    return folder


@pytest.fixture
def secure(wire, certificates):
    """The wire, over TLS; returns its endpoint."""
    plain = wire._serve

    def start(*, wants_client=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem")
        if wants_client:
            context.load_verify_locations(certificates / "authority.crt")
            context.verify_mode = ssl.CERT_REQUIRED

        def serve(connection):
            try:
                connection = context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                with wire._lock:
                    wire.open -= 1
                return
            plain(connection)

        wire._serve = serve
        return wire.endpoint.replace("http:", "https:")

    return start


def get(client):
    return client.branches.get("lake", "main")


def test_a_bundle_of_authorities(connect, secure, certificates, wire):
    client = connect(secure(), verify=str(certificates / "authority.crt"))
    assert get(client).id == "main"
    assert get(client).id == "main"
    assert wire.connections == 1


@pytest.mark.parametrize("bundle", [True, "stranger"])
def test_an_unknown_authority(connect, secure, certificates, bundle, wire):
    verify = bundle if bundle is True else str(certificates / f"{bundle}.crt")
    with pytest.raises(errors.ConnectionFailed, match="no trusted TLS") as caught:
        get(connect(secure(), verify=verify, retries=Retries(count=0)))
    assert not caught.value.sent
    assert not wire.requests, "no credentials before the certificate is checked"


def test_no_check_when_it_is_not_wanted(connect, secure):
    from urllib3.exceptions import InsecureRequestWarning

    with pytest.warns(InsecureRequestWarning):
        assert get(connect(secure(), verify=False)).id == "main"


@pytest.mark.parametrize("form", ["one file", "two files"])
def test_a_client_certificate(connect, secure, certificates, form):
    endpoint, verify = secure(wants_client=True), str(certificates / "authority.crt")
    one, two = str(certificates / "client.pem"), (str(certificates / "client.crt"), str(certificates / "client.key"))
    assert get(connect(endpoint, verify=verify, client_certificate=one if form == "one file" else two)).id == "main"
    with pytest.raises(errors.ConnectionFailed):
        get(connect(endpoint, verify=verify, retries=Retries(count=0)))


def test_a_bundle_that_is_none(connect, secure, tmp_path):
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("this is no certificate")
    with pytest.raises(errors.LakeFSError):
        get(connect(secure(), verify=str(nonsense), retries=Retries(count=0)))


def test_a_bundle_that_the_environment_names_for_all_of_requests(connect, secure, certificates, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "authority.crt"))
    assert get(connect(secure())).id == "main"


def test_a_store_does_not_get_the_client_certificate(connect, secure, certificates, other, answer):
    store = secure(wants_client=True)
    other.say(answer(302, Location=f"{store}/a?sig=1"))
    client = connect(
        other.endpoint,
        verify=str(certificates / "authority.crt"),
        client_certificate=str(certificates / "client.pem"),
        retries=Retries(count=0),
    )
    with pytest.raises(errors.ConnectionFailed):
        client.objects.get("lake", "main", "a", presign=True)


def test_a_store_cannot_lead_from_tls_to_plain_http(connect, secure, certificates, wire, other, answer):
    store = secure()
    other.say(answer(302, Location=f"{store}/a?sig=1"))
    wire.say(answer(307, Location=f"{other.endpoint}/a?sig=1"))
    client = connect(other.endpoint, verify=str(certificates / "authority.crt"))
    with pytest.raises(errors.NotALakeFS, match="redirects to http:"):
        client.objects.get("lake", "main", "a", presign=True)
    assert len(other.requests) == 1


# through a proxy ---------------------------------------------------------------------------------------


class Tunnel(socketserver.ThreadingTCPServer):
    """A proxy that makes tunnels, for those who know its password."""

    daemon_threads = True
    heads: ClassVar[list[str]]
    refusal: bytes | None

    class RequestHandlerClass(socketserver.StreamRequestHandler):
        def handle(self):
            head = b""
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                head += line
            self.server.heads.append(head.decode())
            if self.server.refusal is not None:
                self.wfile.write(self.server.refusal)
                return
            if b"Basic dXNlcjpvdXItc2VjcmV0" not in head:
                self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            host, port = head.split()[1].decode().split(":")
            with socket.create_connection((host, int(port))) as upstream:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self.pipe, args=(upstream, self.connection))
                back.start()
                self.pipe(self.connection, upstream)
                back.join()

        @staticmethod
        def pipe(source, target):
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.RequestHandlerClass)
        self.heads, self.refusal = [], None
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def tunnel():
    with Tunnel() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_tunnel_through_a_proxy(connect, secure, certificates, tunnel, wire, caplog):
    endpoint = secure()
    proxy = tunnel.endpoint.replace("//", "//user:our-secret@")
    client = connect(endpoint, verify=str(certificates / "authority.crt"), proxy=proxy)
    with caplog.at_level("DEBUG"):
        assert get(client).id == "main"
        assert get(client).id == "main"
    assert [head.split()[:2] for head in tunnel.heads] == [["CONNECT", endpoint.removeprefix("https://")]]
    assert "authorization: basic" not in tunnel.heads[0].lower().replace("proxy-authorization", "")
    assert wire.connections == 1, "the tunnel is kept"
    assert "proxy-authorization" not in wire.requests[0].headers
    assert "our-secret" not in caplog.text


def test_a_tunnel_in_parallel(connect, secure, certificates, tunnel, wire):
    client = connect(
        secure(),
        verify=str(certificates / "authority.crt"),
        proxy=tunnel.endpoint.replace("//", "//user:our-secret@"),
        pool_size=3,
    )
    with ThreadPoolExecutor(12) as pool:
        assert {branch.id for branch in pool.map(lambda _: get(client), range(60))} == {"main"}
    assert len(tunnel.heads) <= 3


def test_a_proxy_that_makes_no_tunnel(connect, secure, certificates, tunnel, wire):
    endpoint, verify = secure(), str(certificates / "authority.crt")
    client = connect(endpoint, verify=verify, proxy=tunnel.endpoint, retries=Retries(count=0))
    with pytest.raises(errors.ConnectionFailed, match="requires credentials") as caught:
        get(client)
    assert not caught.value.sent
    tunnel.refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(errors.ConnectionFailed, match="proxy") as caught:
        get(client)
    assert not caught.value.sent
    tunnel.refusal = b""
    with pytest.raises(errors.ConnectionFailed) as caught:
        get(client)
    assert not caught.value.sent
    assert not wire.requests


@pytest.mark.parametrize("handshake", ["reset", "silence"])
def test_a_commit_is_repeated_when_the_handshake_failed(connect, certificates, answer, handshake, caplog):
    """Until the handshake is over nothing of the call has left, so a repeat cannot double it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    seen = []

    def serve():
        broken, _ = listening.accept()
        if handshake == "reset":
            broken.close()
        with context.wrap_socket(listening.accept()[0], server_side=True) as connection:
            broken.close()
            seen.append(connection.recv(65536))
            connection.sendall(answer(201, COMMIT))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        client = connect(
            f"https://127.0.0.1:{listening.getsockname()[1]}",
            verify=str(certificates / "authority.crt"),
            timeouts=Timeouts(connect=0.3, read=5, total=20),
        )
        assert client.commits.create("lake", "main", message="m").id == COMMIT["id"]
        client.close()
        thread.join()
    assert len(seen) == 1
    assert "may have taken effect" not in caplog.text
    assert ("within the connect timeout of 0.3 s; try again" in caplog.text) is (handshake == "silence")
