"""Sources of settings, and rejected values."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from lakefs_ops import Config, Timeouts
from lakefs_ops.config import Retries, parse_bool
from lakefs_ops.errors import ConfigurationError

PAIR = {"access_key_id": "key", "secret_access_key": "our-secret"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def load(home):
    def load(env=None, file=None, **given):
        if file is not None:
            (home / ".lakectl.yaml").write_text(file)
        return Config.load(env={"HOME": str(home), **(env or {})}, **given)

    return load


FILE = """\
# Made by lakectl
credentials:
    access_key_id: AKIA-FILE          # the key
    secret_access_key: 'file''s secret: #1'
server:
    endpoint_url: "http://file.example.com:8000"
metastore:
    glue: {catalog_id: "1"}
    list:
      - anything: &goes >-
        here
"""


def test_the_file_alone(load, home):
    config = load(file=FILE)
    assert config.endpoint == "http://file.example.com:8000"
    assert config.access_key_id == "AKIA-FILE"
    assert config.secret_access_key == "file's secret: #1"
    assert config.sources == dict.fromkeys(("endpoint", "access_key_id", "secret_access_key"), f"{home}/.lakectl.yaml")


def test_a_file_elsewhere(load, tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(FILE)
    assert load({"LAKECTL_CONFIG_FILE": str(path)}).access_key_id == "AKIA-FILE"
    with pytest.raises(ConfigurationError, match="does not exist"):
        load({"LAKECTL_CONFIG_FILE": str(tmp_path / "none.yaml")})


def test_the_environment_comes_before_the_file(load):
    env = {"LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "env", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "env-secret"}
    config = load(env, FILE)
    assert (config.endpoint, config.access_key_id) == ("http://file.example.com:8000", "env")
    assert config.sources["access_key_id"] == "environment LAKECTL_CREDENTIALS_ACCESS_KEY_ID"
    config = load({"LAKECTL_SERVER_ENDPOINT_URL": "http://env.example.com/api/v1"}, FILE)
    assert (config.endpoint, config.access_key_id) == ("http://env.example.com", "AKIA-FILE")


def test_arguments_come_first(load):
    env = {"LAKEFS_ENDPOINT": "env.example.com", "LAKEFS_ACCESS_KEY_ID": "env", "LAKEFS_SECRET_ACCESS_KEY": "s"}
    config = load(env, FILE, endpoint="argument.example.com", **PAIR)
    assert (config.endpoint, config.access_key_id) == ("https://argument.example.com", "key")
    assert set(config.sources.values()) == {"argument"}


def test_ours_come_before_those_of_lakectl(load):
    env = {"LAKEFS_ENDPOINT": "ours", "LAKECTL_SERVER_ENDPOINT_URL": "theirs"}
    assert load(env).endpoint == "https://ours"


@pytest.mark.parametrize(
    "variable", ["LAKECTL_CREDENTIALS_SESSION_TOKEN", "LAKECTL_CREDENTIALS_ACCESS_TOKEN", "LAKEFS_TOKEN"]
)
def test_a_token_of_the_environment_comes_before_a_pair(load, variable):
    env = {"LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "env", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "s", variable: "jwt"}
    config = load(env, FILE)
    assert (config.token, config.access_key_id) == ("jwt", None)


def test_a_pair_is_never_put_together_from_two_places(load):
    with pytest.raises(ConfigurationError, match="without secret_access_key"):
        load({"LAKEFS_ACCESS_KEY_ID": "env"}, FILE)
    with pytest.raises(ConfigurationError, match="without secret_access_key"):
        load({"LAKEFS_SECRET_ACCESS_KEY": "env"}, FILE, access_key_id="argument")
    with pytest.raises(ConfigurationError, match="without secret_access_key"):
        load({"LAKEFS_ACCESS_KEY_ID": "a", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "s"})


def test_credentials_of_the_file_are_not_for_a_server_that_an_argument_names(load):
    config = load(None, FILE, endpoint="elsewhere.example.com")
    assert config.access_key_id is None
    assert "another server" in config.describe()
    assert load(None, FILE, endpoint="http://file.example.com:8000/api/v1/").access_key_id == "AKIA-FILE"


def test_no_endpoint_anywhere(load):
    with pytest.raises(ConfigurationError, match="LAKEFS_ENDPOINT"):
        load()
    with pytest.raises(ConfigurationError, match="LAKEFS_ENDPOINT"):
        load({"LAKEFS_ENDPOINT": ""})


def test_the_other_settings_of_the_environment(load, tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    env = {
        "LAKEFS_ENDPOINT": "h", "LAKEFS_VERIFY": str(bundle), "LAKEFS_POOL_SIZE": "7", "LAKEFS_PROXY": "http://p:1",
        "LAKEFS_LOGIN": "true", "LAKEFS_ACCESS_KEY_ID": "k", "LAKEFS_SECRET_ACCESS_KEY": "s",
        "LAKEFS_CLIENT_CERTIFICATE": f"{bundle}:{bundle}",
    }  # fmt: skip
    config = load(env)
    assert (config.verify, config.pool_size, config.login) == (str(bundle), 7, True)
    assert config.client_certificate == (str(bundle), str(bundle))
    assert load({**env, "LAKEFS_VERIFY": "false"}).verify is False
    for variable in ("LAKEFS_POOL_SIZE", "LAKEFS_LOGIN", "LAKEFS_VERIFY"):
        with pytest.raises(ConfigurationError):
            load({**env, variable: "/nowhere"})


@pytest.mark.parametrize(
    ("name", "value"), [("verify", ""), ("client_certificate", ""), ("client_certificate", ("", "k"))]
)
def test_an_empty_path_does_not_turn_anything_off(load, name, value):
    with pytest.raises(ConfigurationError, match=f"{name} must not be empty"):
        load(endpoint="h", **{name: value})


def test_timeouts_and_retries_of_the_environment(load):
    env = {"LAKEFS_ENDPOINT": "h", "LAKEFS_TIMEOUTS": "read=60, total=none", "LAKEFS_RETRIES": "count=2,budget=1.5"}
    config = load(env)
    assert config.timeouts == Timeouts(read=60, total=None)
    assert config.retries == Retries(count=2, budget=1.5)
    assert config.sources["timeouts"] == "environment LAKEFS_TIMEOUTS"
    assert load(env, timeouts=Timeouts(read=5)).timeouts.read == 5
    for variable, text in (
        ("LAKEFS_TIMEOUTS", "5"), ("LAKEFS_TIMEOUTS", "read=soon"), ("LAKEFS_TIMEOUTS", "reed=5"),
        ("LAKEFS_TIMEOUTS", "read=-1"), ("LAKEFS_RETRIES", "count=1.5"), ("LAKEFS_RETRIES", "count=none"),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match=f"^environment {variable}: "):
            load({**env, variable: text})


@pytest.mark.parametrize(
    "settings",
    [
        {"access_key_id": "a"},
        {"secret_access_key": "a\nb", "access_key_id": "a"},
        {"pool_size": "0"},
        {"verify": "/no/such/bundle"},
        {"proxy": "nonsense"},
    ],
)
def test_a_rejected_setting_names_its_source(load, settings):
    env = {f"LAKEFS_{name.upper()}": value for name, value in settings.items()}
    with pytest.raises(ConfigurationError, match=f"environment LAKEFS_{next(iter(settings)).upper()}"):
        load({"LAKEFS_ENDPOINT": "h", **env})


def test_describe_shows_everything_but_secrets(load):
    text = load({"LAKEFS_PROXY": "http://u:our-secret@p:1"}, endpoint="h", **PAIR).describe()
    assert "our-secret" not in text
    assert "secret_access_key    (set)" in text
    assert "environment LAKEFS_PROXY" in text
    assert "default" in text


def test_describe_shows_what_requests_takes_from_the_environment(load, tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert "proxy" not in load(endpoint="h").describe()
    monkeypatch.setenv("ALL_PROXY", "http://all:1")
    assert "environment ALL_PROXY" in load(endpoint="h").describe()
    monkeypatch.setenv("HTTPS_PROXY", "http://u:our-secret@p:1")
    monkeypatch.setenv("NO_PROXY", "near.example.com")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/bundle.pem")
    text = load(endpoint="h").describe()
    assert "our-secret" not in text
    assert "http://p:1" in text
    assert "environment HTTPS_PROXY" in text
    assert "/etc/bundle.pem" in text
    assert "proxy" not in load(endpoint="near.example.com").describe()
    text = load(endpoint="h", proxy="", verify=False).describe()
    assert "_PROXY" not in text
    assert "REQUESTS_CA_BUNDLE" not in text


def test_a_config_pickles(load):
    config = load(None, FILE)
    copy = pickle.loads(pickle.dumps(config))
    assert copy == config
    assert copy.sources == config.sources
    assert hash(copy) == hash(config)


@pytest.mark.parametrize(
    "text",
    [
        "Credentials:\n  ACCESS_KEY_ID: AKIA\n  Secret_Access_Key: our-secret\nSERVER:\n  Endpoint_URL: http://h\n",
        "credentials.access_key_id: AKIA\ncredentials.secret_access_key: our-secret\nserver.endpoint_url: http://h\n",
        "  credentials:\n    access_key_id: AKIA\n    secret_access_key: our-secret\n  server:\n    endpoint_url: http://h\n",
        "# first\n  'Server.Endpoint_URL': http://h\n  other:\n  - x\n  credentials:\n      access_key_id: AKIA\n"
        "      secret_access_key: our-secret\n",
        "server:\n  endpoint_url: http://h\nother:\n\tx\n- y\ncredentials:\n  access_key_id: AKIA\n"
        "  secret_access_key: our-secret\n",
    ],
    ids=["capitals", "dots", "indented", "all of them", "lists in other sections"],
)
def test_keys_are_read_as_lakectl_reads_them(load, text):
    config = load(file=text)
    assert (config.endpoint, config.access_key_id, config.secret_access_key) == ("http://h", "AKIA", "our-secret")


@pytest.mark.parametrize("key", ["server.endpoint", "credentials.acces_key_id", "credentials.secret_key"])
def test_a_misspelled_key_is_refused(load, key):
    with pytest.raises(ConfigurationError, match=f"has the unknown key '{key}'; write '"):
        load(file=f"{key}: our-secret\n")
    assert load(file=FILE + "server.retries.max_attempts: 3\ncredentials.provider.type: aws_iam\n").access_key_id


@pytest.mark.parametrize(
    "text",
    [
        "credentials:\n- access_key_id\n",
        "\tcredentials:\n",
        "- credentials\n",
        "{credentials: {access_key_id: x}}\n",
        "Credentials: {access_key_id: x}\n",
        "credentials.access_key_id: &x y\n",
        "  credentials:\n    access_key_id: x\n",  # followed by a key that is indented less
        "credentials:\n  access_key_id: &anchor x\n",
        "credentials: {access_key_id: x}\n",
        "credentials:\n  access_key_id: |\n    x\n",
        "credentials:\n  - access_key_id\n",
        "credentials:\n\taccess_key_id: x\n",
        "credentials:\n  access_key_id: *x\n",
        "credentials:\n  access_key_id: a: b\n",
        'credentials:\n  secret_access_key: "unclosed\n',
        "credentials:\n  secret_access_key: our-\n    secret\n",
        "not yaml at all, but our-secret\n",
    ],
)
def test_what_the_file_reader_does_not_understand_it_refuses(load, text):
    with pytest.raises(ConfigurationError, match=r"line \d of .*lakectl\.yaml is not understood") as caught:
        load(file=text + "server:\n  endpoint_url: h\n")
    assert "our-secret" not in str(caught.value)


def test_a_file_that_cannot_be_read(load, home):
    (home / ".lakectl.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load()
    (home / ".lakectl.yaml").unlink()
    (home / ".lakectl.yaml").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load()


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ("lake.example.com", "https://lake.example.com"),
        ("https://lake.example.com/", "https://lake.example.com"),
        ("https://lake.example.com/api/v1", "https://lake.example.com"),
        ("https://lake.example.com/api/v1/", "https://lake.example.com"),
        ("https://example.com/lake/api/v1/", "https://example.com/lake"),
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        (" HTTP://LAKE.example.com ", "http://lake.example.com"),
    ],
)
def test_endpoints(given, endpoint):
    assert Config(endpoint=given).endpoint == endpoint


@pytest.mark.parametrize(
    "given",
    [
        "", "ftp://x", "http://", "http://u:our-secret@x", "http://x?y=our-secret", "http://x:port", "http://a b",
        "http://x\ny", "http://[x", None, 7,
    ],
)  # fmt: skip
def test_endpoints_that_cannot_be_used(given):
    with pytest.raises(ConfigurationError) as caught:
        Config(endpoint=given)
    if given and "@" in str(given):
        assert "our-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"access_key_id": "a"},
        {"token": "t", **PAIR},
        {"login": True},
        {"token": "two\nlines"},
        {"token": "tökén"},
        {"secret_access_key": "our-secret\r\n", "access_key_id": "a"},
        {"pool_size": 0},
        {"verify": "/no/such/bundle"},
        {"client_certificate": ("/no/such", "/files")},
        {"proxy": "nonsense"},
        {"proxy": 3128},
        {"timeouts": 5},
        {"retries": 3},
        {"verify": None},
        {"client_certificate": ["a", "b"]},
        {"login": "yes"},
        {"token": b"our-secret"},
        {"access_key_id": "a", "secret_access_key": b"our-secret"},
        {"pool_size": 2.5},
    ],
)
def test_settings_that_cannot_be_used(settings):
    with pytest.raises(ConfigurationError) as caught:
        Config(endpoint="h", **settings)
    assert "our-secret" not in str(caught.value)


def test_numbers_that_cannot_be_used():
    for name in ("connect", "read", "total"):
        for value in (0, -1, float("nan"), float("inf"), "1"):
            with pytest.raises(ConfigurationError):
                Timeouts(**{name: value})
    for name in ("count", "budget", "first_wait", "longest_wait"):
        with pytest.raises(ConfigurationError):
            Retries(**{name: -1})
    with pytest.raises(ConfigurationError, match="integer"):
        Retries(count=float("inf"))
    with pytest.raises(ConfigurationError, match="unknown settings: pool"):
        Config.load(endpoint="h", pool=3)


@pytest.mark.parametrize("text", ["true", "False", " yes ", "OFF", "1", "0"])
def test_booleans(text):
    assert parse_bool(text) is (text.strip().lower() in ("true", "yes", "1"))


@pytest.mark.parametrize("text", ["", "none", "2", "/path/to/ca.pem"])
def test_texts_that_are_not_booleans(text):
    assert parse_bool(text) is None


def test_an_explicit_total_is_kept_even_if_it_is_the_default():
    assert Timeouts(read=600).total == 1800
    explicit = Timeouts(read=600, total=900)
    assert explicit.total == 900
    assert pickle.loads(pickle.dumps(explicit)) == explicit != Timeouts(read=600)
    assert pickle.loads(pickle.dumps(Timeouts())) == Timeouts() == Timeouts(total=900)
    assert hash(Timeouts()) == hash(Timeouts(total=900))
    assert replace(explicit, read=30) == Timeouts(read=30, total=900)


def test_a_long_read_timeout_raises_the_default_total():
    assert Timeouts().total == 900
    assert Timeouts(read=3600).total == 3 * 3600
    assert Timeouts(read=3600, total=60).total == 60
    assert Timeouts(total=None).total is None


def test_the_environment_variables_of_a_config_load_it_again(tmp_path):
    for name in ("ca.pem", "certificate.pem", "key.pem"):
        (tmp_path / name).touch()
    configs = [
        Config(endpoint="http://x"),
        Config(endpoint="http://x", token=lambda: "bearer"),
        Config(
            endpoint="http://x", access_key_id="key", secret_access_key="secret", login=True, verify=False,
            client_certificate=(str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")),
            proxy="http://proxy:3128", pool_size=3,
            timeouts=Timeouts(connect=0.00001, read=60, total=None), retries=Retries(count=0, budget=1.5),
        ),
        Config(endpoint="http://x", verify=str(tmp_path / "ca.pem"), client_certificate=str(tmp_path / "key.pem")),
    ]  # fmt: skip
    for config in configs:
        expected = replace(config, token="bearer") if config.token else config
        assert Config.load(env={"HOME": str(tmp_path), **config.to_environment()}) == expected
