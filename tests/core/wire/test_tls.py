"""Certificates: of authorities, of the server, of the client."""

import datetime
import ipaddress
import ssl

import pytest

from lakefs_ops import Retries, errors

x509 = pytest.importorskip("cryptography.x509")


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
            .sign(key if authority else issuer[1], hashes.SHA256())
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
    with pytest.raises(errors.NotALakeFS, match="sends us to http:"):
        client.objects.get("lake", "main", "a", presign=True)
    assert len(other.requests) == 1
