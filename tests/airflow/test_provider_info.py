"""What Airflow reads to discover the provider."""

import inspect
import json
import sys
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from types import SimpleNamespace

import jsonschema
import pytest

from airflow_provider.get_provider_info import get_provider_info


def schema(name: str) -> dict:
    return json.loads(files("airflow").joinpath(name).read_text())


INFO = get_provider_info()
ROOMS = ("hooks", "operators", "sensors", "triggers")
MODULES = [module for room in ROOMS for entry in INFO[room] for module in entry["python-modules"]]
CLASSES = [*INFO["extra-links"], *(entry["hook-class-name"] for entry in INFO["connection-types"])]


def test_validates_against_airflows_schema() -> None:
    jsonschema.Draft7Validator(schema("provider_info.schema.json")).validate(INFO)


def test_connection_types_validate_against_the_strict_schema() -> None:
    strict = schema("provider.yaml.schema.json")["properties"]["connection-types"]
    jsonschema.Draft7Validator(strict).validate(INFO["connection-types"])


def test_is_named_as_the_distribution_is() -> None:
    (entry,) = entry_points(group="apache_airflow_provider").select(
        value="airflow_provider.get_provider_info:get_provider_info"
    )
    assert entry.dist is not None
    assert entry.load()()["package-name"] == entry.dist.metadata["Name"]


@pytest.mark.parametrize("module", MODULES)
def test_module_imports(module: str) -> None:
    import_module(module)


@pytest.mark.parametrize("path", CLASSES)
def test_class_imports(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert inspect.isclass(getattr(import_module(module), name))


@pytest.mark.parametrize("room", ROOMS)
def test_package_offers_all_names_of_its_modules(room: str) -> None:
    package = import_module(f"airflow_provider.{room}")
    defined = {
        name
        for module in MODULES
        if module.startswith(f"airflow_provider.{room}.")
        for name, value in vars(import_module(module)).items()
        if inspect.isclass(value) and value.__module__ == module
    }
    assert set(package.__all__) == defined
    assert all(inspect.isclass(getattr(package, name)) for name in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        package.Nothing  # noqa: B018


@pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated:FutureWarning")  # by Airflow 3.2's own page
def test_airflow_shows_the_form() -> None:
    """What the page of connections asks for; Airflow 3.1 takes it from the hook, later ones from the metadata."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (form,) = (form for form in HookMetaService.hook_meta_data() if form.connection_type == "lakefs")
    assert form.hook_name == "lakeFS"
    standard = form.standard_fields
    assert [standard.host.title, standard.login.title, standard.password.title] == [
        "Endpoint", "Access key ID", "Secret access key",
    ]  # fmt: skip
    assert standard.host.placeholder == "https://lakefs.example.com"
    assert standard.port.hidden
    assert standard.url_schema.hidden
    fields = form.extra_fields
    assert list(fields) == ["verify_ssl", "ca_bundle", "connect_timeout", "read_timeout", "token"]
    assert fields["verify_ssl"]["value"] is True
    assert fields["verify_ssl"]["schema"]["type"] == ["boolean", "null"]
    assert fields["token"]["schema"]["format"] == "password"


def test_airflow_3_1_asks_the_hook_for_the_form(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider.hooks import LakeFSHook

    def field(kind: str) -> object:
        return lambda label, **options: SimpleNamespace(kind=kind, label=label, **options)

    kinds = {name: field(name) for name in ("BooleanField", "PasswordField", "StringField")}
    monkeypatch.setitem(sys.modules, "wtforms", SimpleNamespace(**kinds))
    widgets = LakeFSHook.get_connection_form_widgets()
    assert {name: widget.kind for name, widget in widgets.items()} == {
        "verify_ssl": "BooleanField",
        "ca_bundle": "StringField",
        "connect_timeout": "StringField",
        "read_timeout": "StringField",
        "token": "PasswordField",
    }
    behaviour = LakeFSHook.get_ui_field_behaviour()
    assert set(behaviour) == {"hidden_fields", "relabeling", "placeholders"}
