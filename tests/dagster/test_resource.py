"""The resource: where its values come from, how long its client lives, and what its errors say."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import re
import subprocess
import sys

import dagster as dg
import pydantic
import pytest
from dagster._core.snap.snap_to_yaml import default_values_yaml_from_type_snap
from dagster_shared.libraries import DagsterLibraryRegistry

import lakefs_ops
from dagster_resources import LakeFSIOManager, LakeFSResource
from lakefs_ops.config import Config, Retries, Timeouts
from lakefs_ops.errors import ConfigurationError


@dg.asset
def names(lakefs: LakeFSResource) -> list[str]:
    return [repository.id for repository in lakefs.get_client().repositories.list()]


def test_the_package_does_not_import_dagster():
    code = "import dagster_resources, sys; sys.exit('dagster' in sys.modules or 'requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_dagster_knows_the_library():
    assert DagsterLibraryRegistry.get()["lakefs-ops"] == lakefs_ops.__version__


def test_configured_from_fields(resource, materialize, lakefs_repository):
    result = materialize([names], resource)
    assert lakefs_repository in result.output_for_node("names")


def test_configured_from_the_environment(lakefs, materialize, lakefs_repository, monkeypatch):
    monkeypatch.setenv("LAKE", f"{lakefs.endpoint}/api/v1/")
    monkeypatch.setenv("LAKE_KEY", lakefs.access_key_id)
    monkeypatch.setenv("LAKE_SECRET", lakefs.secret_access_key)
    resource = LakeFSResource(
        endpoint=dg.EnvVar("LAKE"), access_key_id=dg.EnvVar("LAKE_KEY"), secret_access_key=dg.EnvVar("LAKE_SECRET")
    )
    assert lakefs_repository in materialize([names], resource).output_for_node("names")
    assert resource.get_client().config.endpoint == lakefs.endpoint  # outside a run as well


def test_a_variable_that_is_not_set(materialize, monkeypatch):
    monkeypatch.delenv("NO_SUCH_LAKE", raising=False)
    resource = LakeFSResource(endpoint=dg.EnvVar("NO_SUCH_LAKE"))
    with pytest.raises(
        ConfigurationError, match=r"LakeFSResource\.endpoint needs the environment variable NO_SUCH_LAKE"
    ):
        resource.get_client()
    with pytest.raises(dg.DagsterInvalidConfigError, match="NO_SUCH_LAKE"):
        materialize([names], resource)


def test_settings_reach_the_client(tmp_path):
    authorities = tmp_path / "authorities.pem"
    authorities.touch()
    resource = LakeFSResource(
        endpoint="lake.example.com/api/v1",
        access_key_id="key",
        secret_access_key="secret",
        ca_bundle=str(authorities),
        connect_timeout=1.5,
        read_timeout=20,
    )
    config = resource.get_client().config
    assert config.endpoint == "https://lake.example.com"
    assert (config.access_key_id, config.secret_access_key) == ("key", "secret")
    assert config.verify == str(authorities)
    assert (config.timeouts.connect, config.timeouts.read) == (1.5, 20)
    assert LakeFSResource(endpoint="http://x", verify=False).get_client().config.verify is False


def test_every_setting_of_the_configuration_reaches_the_client(tmp_path, monkeypatch):
    for name in ("certificate.pem", "key.pem"):
        (tmp_path / name).touch()
    variables = {
        "endpoint": "http://x",
        "access_key_id": "key",
        "secret_access_key": "secret",
        "login": "true",
        "verify": "true",
        "client_certificate": str(tmp_path / "certificate.pem"),
        "client_key": str(tmp_path / "key.pem"),
        "proxy": "http://user:pass@proxy:3128",
        "connect_timeout": "1.5",
        "read_timeout": "2.5",
        "total_timeout": "3.5",
        "retries": "1",
        "retry_budget": "5",
        "pool_size": "7",
        "audit_key": "the key of the audit gate",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"LAKE_{name}", value)
    config = LakeFSResource(**{name: dg.EnvVar(f"LAKE_{name}") for name in variables}).get_client().config
    expected = Config(
        endpoint="http://x",
        access_key_id="key",
        secret_access_key="secret",
        login=True,
        client_certificate=(variables["client_certificate"], variables["client_key"]),
        proxy=variables["proxy"],
        timeouts=Timeouts(connect=1.5, read=2.5, total=3.5),
        retries=Retries(count=1, budget=5),
        pool_size=7,
        audit_key="the key of the audit gate",
    )
    assert config == expected
    assert {field.name for field in dataclasses.fields(Config)} == {
        "timeouts", "sources", *variables, "token"
    } - {"client_key", "connect_timeout", "read_timeout", "total_timeout", "retry_budget"}  # fmt: skip
    monkeypatch.setenv("LAKE_TOKEN", "bearer")
    assert LakeFSResource(endpoint="http://x", token=dg.EnvVar("LAKE_TOKEN")).get_client().config.token == "bearer"


def test_the_secrets_are_not_shown():
    resource = LakeFSResource(
        endpoint="http://x", access_key_id="key", secret_access_key="geheim", proxy="http://u:geheim@y"
    )
    assert "geheim" not in repr(resource)
    assert "geheim" not in repr(resource.get_client().config)
    assert "geheim" not in repr(LakeFSResource(endpoint="http://x", token="geheim"))


@pytest.mark.parametrize("field", ["endpoint", "webserver_url"])
@pytest.mark.parametrize("address", ["https://user:geheim@lake.example.com", "user:geheim@lake"])
def test_an_address_with_credentials_is_refused_without_showing_them(field, address):
    with pytest.raises(dg.DagsterInvalidDefinitionError, match=f"{field} must not contain credentials") as refused:
        LakeFSResource(**{field: address})
    assert "geheim" not in str(refused.value)


def test_an_address_with_credentials_in_the_environment_is_refused_in_the_run(monkeypatch, instance):
    monkeypatch.setenv("LAKE_ADDRESS", "https://user:geheim@lake.example.com")
    with pytest.raises(dg.DagsterError) as refused:
        dg.materialize(
            [names], instance=instance, resources={"lakefs": LakeFSResource(endpoint=dg.EnvVar("LAKE_ADDRESS"))}
        )
    assert "must not contain credentials" in str(refused.value)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("wrong", [{"environmnt": "geheim"}, {"secret_access_key": ["geheim"]}])
def test_a_wrong_field_is_refused_without_its_value(wrong):
    with pytest.raises(pydantic.ValidationError) as refused:
        LakeFSResource(**wrong)
    assert next(iter(wrong)) in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_one_client_for_a_process_closed_at_its_end(resource, materialize):
    seen = []

    @dg.asset
    def first(lakefs: LakeFSResource) -> None:
        client = lakefs.get_client()
        client.server.health()
        closed = client.close
        client.close = lambda: (seen.append("closed"), closed())
        seen.append(client)

    @dg.asset(deps=[first])
    def second(lakefs: LakeFSResource) -> None:
        seen.append(lakefs.get_client())

    assert materialize([first, second], resource).success
    assert seen[0] is seen[1]
    assert seen[2:] == ["closed"]


def test_outside_a_run(resource, lakefs_repository):
    with resource.process_config_and_initialize_cm() as lakefs:
        assert lakefs.get_client().repositories.get(lakefs_repository).id == lakefs_repository


WRONG = {
    "endpoint": (
        {"endpoint": "http://127.0.0.1:9"},
        lambda client, repository: client.branches.get(repository, "main"),
        "found nothing listening at http://127.0.0.1:9; is lakeFS running there, and is the endpoint right?",
    ),
    "keys": (
        {"secret_access_key": "wrong"},
        lambda client, repository: client.branches.get(repository, "main"),
        "check the access key and the secret",
    ),
    "repository": (
        {},
        lambda client, repository: client.branches.get("no-such-repository", "main"),
        "getBranch(repository 'no-such-repository', branch 'main') was refused by {endpoint}: "
        "404 repository not found; check the repository's name and the endpoint",
    ),
    "branch name": (
        {},
        lambda client, repository: client.branches.create(repository, name="not a branch!", source="main"),
        "branch id must consist of letters, digits, underscores and dashes, and cannot start with a dash",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_error_is_one_clear_sentence_in_the_runs_failure(
    wrong, lakefs, lakefs_repository, materialize, sentence, mocker
):
    fields, call, expected = WRONG[wrong]
    mocker.patch("random.uniform", return_value=0)  # repeats without waiting
    keys = {
        "endpoint": lakefs.endpoint,
        "access_key_id": lakefs.access_key_id,
        "secret_access_key": lakefs.secret_access_key,
    }

    @dg.asset
    def careless(lakefs: LakeFSResource) -> None:
        call(lakefs.get_client(), lakefs_repository)

    result = materialize([careless], LakeFSResource(**{**keys, **fields}))
    assert not result.success
    said = sentence(result)
    assert expected.format(endpoint=lakefs.endpoint) in said
    assert "\n" not in said


def test_numbers_and_booleans_from_the_environment(lakefs, materialize, monkeypatch):
    monkeypatch.setenv("LAKE_VERIFY", "no")
    monkeypatch.setenv("LAKE_SECONDS", "1.5")
    resource = LakeFSResource(
        endpoint=lakefs.endpoint,
        access_key_id=lakefs.access_key_id,
        secret_access_key=lakefs.secret_access_key,
        verify=dg.EnvVar("LAKE_VERIFY"),
        connect_timeout=dg.EnvVar("LAKE_SECONDS"),
        read_timeout=dg.EnvVar("LAKE_SECONDS"),
    )
    seen = [resource.get_client().config]

    @dg.asset
    def configured(lakefs: LakeFSResource) -> None:
        seen.append(lakefs.get_client().config)

    assert materialize([configured], resource).success
    for config in seen:
        assert config.verify is False
        assert (config.timeouts.connect, config.timeouts.read) == (1.5, 1.5)


def test_the_endpoint_from_the_environment(lakefs, materialize, lakefs_repository, monkeypatch):
    monkeypatch.setenv("LAKEFS_ENDPOINT", lakefs.endpoint)
    monkeypatch.setenv("LAKEFS_ACCESS_KEY_ID", lakefs.access_key_id)
    monkeypatch.setenv("LAKEFS_SECRET_ACCESS_KEY", lakefs.secret_access_key)
    assert lakefs_repository in materialize([names], LakeFSResource()).output_for_node("names")


MISCONFIGURED = {
    "nothing": ({}, "no lakeFS endpoint: pass endpoint="),
    "a word as a number": (
        {"connect_timeout": "soon"},
        r"LakeFSResource\.connect_timeout must be a number of seconds, not 'soon'$",
    ),
    "a word as a boolean": (
        {"verify": dg.EnvVar("LAKE_WORD")},
        r"LakeFSResource\.verify must be true or false, not 'soon' \(environment variable LAKE_WORD\)$",
    ),
    "a word as an integer": (
        {"pool_size": dg.EnvVar("LAKE_WORD")},
        r"LakeFSResource\.pool_size must be an integer, not 'soon' \(environment variable LAKE_WORD\)$",
    ),
    "a number that is not set": (
        {"read_timeout": dg.EnvVar.int("NO_SUCH_NUMBER")},
        r"LakeFSResource\.read_timeout needs the environment variable NO_SUCH_NUMBER; set it$",
    ),
}


@pytest.mark.parametrize("case", MISCONFIGURED)
def test_a_misconfigured_resource_fails_in_one_sentence(case, materialize, sentence, monkeypatch, tmp_path):
    fields, message = MISCONFIGURED[case]
    monkeypatch.setenv("LAKE_WORD", "soon")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LAKEFS_ENDPOINT", raising=False)
    resource = LakeFSResource(**fields)
    with pytest.raises(ConfigurationError, match=message):
        resource.get_client()
    result = materialize([names], resource)
    assert not result.success
    assert re.search(message, sentence(result))


def test_copies_have_a_client_for_their_own_fields(resource, materialize, lakefs_repository):
    used = resource.get_client()
    used.repositories.get(lakefs_repository)
    moved = resource.model_copy(update={"endpoint": "http://127.0.0.1:9"})
    assert moved.get_client().config.endpoint == "http://127.0.0.1:9"
    assert not materialize([names], resource.model_copy(update={"secret_access_key": "wrong"})).success
    for copied in (copy.copy(resource), copy.deepcopy(resource), pickle.loads(pickle.dumps(resource))):
        assert (repr(copied), copied.secret_access_key) == (repr(resource), resource.secret_access_key)
        assert copied.get_client() is not used
        assert copied.get_client().repositories.get(lakefs_repository).id == lakefs_repository
        copied.get_client().close()
    assert resource.get_client() is used
    used.close()


def test_copies_keep_environment_variables(lakefs, monkeypatch):
    monkeypatch.setenv("LAKE", lakefs.endpoint)
    resource = pickle.loads(pickle.dumps(copy.deepcopy(LakeFSResource(endpoint=dg.EnvVar("LAKE")))))
    assert isinstance(resource.endpoint, dg.EnvVar)
    assert resource.get_client().config.endpoint == lakefs.endpoint


@pytest.mark.parametrize(
    "secrets",
    [{"access_key_id": "key", "secret_access_key": "geheim"}, {"token": "geheim", "proxy": "http://u:geheim@y"}],
)
def test_the_launchpad_masks_the_secrets(secrets):
    resource = LakeFSResource(endpoint="http://x", **secrets)
    job = dg.Definitions([names], resources={"lakefs": resource}).resolve_implicit_global_asset_job_def()
    snapshot = job.get_job_snapshot().config_schema_snapshot
    root = job.run_config_schema.run_config_schema_type
    text = default_values_yaml_from_type_snap(snapshot, snapshot.get_config_snap(root.key))
    assert "http://x" in text
    assert "geheim" not in text


class Weather(dg.ConfigurableResource):
    lakefs: LakeFSResource
    repository: str

    def repositories(self):
        return [self.lakefs.get_client().repositories.get(self.repository).id]


class Notes(dg.ConfigurableIOManager):
    lakefs: LakeFSResource
    repository: str

    def handle_output(self, context, obj):
        self.lakefs.get_client().objects.upload(self.repository, "main", "note.json", json.dumps(obj).encode())

    def load_input(self, context):
        return json.loads(self.lakefs.get_client().objects.get(self.repository, "main", "note.json"))


@pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run:DeprecationWarning")  # of Dagster itself
def test_a_field_of_other_resources_and_io_managers_and_of_ops(resource, instance, lakefs_repository):
    @dg.op
    def write(weather: Weather):
        return weather.repositories()

    @dg.op
    def read(lakefs: LakeFSResource, note):
        assert note == [lakefs_repository]
        assert lakefs.get_client().repositories.get(lakefs_repository)

    @dg.job(
        resource_defs={
            "lakefs": resource,
            "weather": Weather(lakefs=resource, repository=lakefs_repository),
            "io_manager": Notes(lakefs=resource, repository=lakefs_repository),
        }
    )
    def notes():
        read(write())

    assert notes.execute_in_process(instance=instance).success


def test_an_io_manager_has_a_resource_that_is_configured_at_launch(resource, instance, lakefs, lakefs_repository):
    late = LakeFSResource.configure_at_launch()
    keys = ("endpoint", "access_key_id", "secret_access_key")
    run = dg.materialize(
        [dg.asset(name="seven")(lambda: b"7")],
        instance=instance,
        resources={
            "lakefs": late,
            "io_manager": LakeFSIOManager(lakefs=late, repository=lakefs_repository, format="bytes", isolation="none"),
        },
        run_config={"resources": {"lakefs": {"config": {key: getattr(resource, key) for key in keys}}}},
    )
    assert run.success
    assert lakefs.client.objects.get(lakefs_repository, "main", "seven.bin") == b"7"


@pytest.mark.filterwarnings("ignore")  # Dagster's Pipes themselves use deprecated and preview features
def test_a_pipes_process_connects_with_the_settings_of_the_resource(
    resource, materialize, lakefs_repository, monkeypatch
):
    monkeypatch.setenv("LAKEFS_TOKEN", "of another server")
    code = """if True:
        from dagster_pipes import open_dagster_pipes
        from lakefs_ops import LakeFSClient
        with open_dagster_pipes() as pipes, LakeFSClient() as client:
            client.repositories.get(pipes.get_extra("repository"))
    """

    @dg.asset
    def external(context, lakefs: LakeFSResource):
        pipes = dg.PipesSubprocessClient(env=lakefs.pipes_env())
        command, extras = [sys.executable, "-c", code], {"repository": lakefs_repository}
        return pipes.run(context=context, command=command, extras=extras).get_materialize_result()

    assert materialize([external], resource).success
    resource.get_client().close()


def test_no_secret_in_the_log_or_the_run_of_a_failure(lakefs, instance, materialize):
    secrets = {"secret_access_key": "geheim-1", "proxy": "http://user:geheim-2@127.0.0.1:9"}
    resource = LakeFSResource(endpoint=lakefs.endpoint, access_key_id="key", retries=0, **secrets)
    result = materialize([names], resource)
    assert not result.success
    events = "".join(str(event) for event in instance.all_logs(result.run_id))
    assert "names" in events
    assert "geheim" not in events
    assert "geheim" not in str(instance.get_run_by_id(result.run_id))
