"""The metadata by which Airflow discovers the provider."""

import inspect
import json
import sys
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files

import jsonschema
import pytest
from pytest_mock import MockerFixture

from airflow_provider.get_provider_info import CONN_FIELDS, get_provider_info


def schema(name: str) -> dict:
    return json.loads(files("airflow").joinpath(name).read_text())


INFO = get_provider_info()
FUNCTIONS = [path for entry in INFO["asset-uris"] for key, path in entry.items() if key != "schemes"]
PACKAGES = ("hooks", "operators", "sensors", "triggers")
MODULES = [module for package in PACKAGES for entry in INFO[package] for module in entry["python-modules"]]
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


@pytest.mark.parametrize("path", FUNCTIONS)
def test_function_imports(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert inspect.isfunction(getattr(import_module(module), name))


@pytest.mark.parametrize("name", PACKAGES)
def test_package_offers_all_names_of_its_modules(name: str) -> None:
    package = import_module(f"airflow_provider.{name}")
    defined = {
        member
        for module in MODULES
        if module.startswith(f"airflow_provider.{name}.")
        for member, value in vars(import_module(module)).items()
        if inspect.isclass(value) and value.__module__ == module and not member.startswith("_")
    }
    assert set(package.__all__) == defined
    assert all(inspect.isclass(getattr(package, member)) for member in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        package.Nothing  # noqa: B018


@pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated:FutureWarning")  # by Airflow 3.2 itself
def test_airflow_shows_the_form() -> None:
    """The form on the connections page: Airflow 3.1 reads it from the hook, later versions from the metadata."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (form,) = (form for form in HookMetaService.hook_meta_data() if form.connection_type == "lakefs")
    assert form.hook_name == "lakeFS"
    standard = form.standard_fields
    assert [standard.host.title, standard.login.title, standard.password.title] == [
        "Endpoint", "Access key ID", "Secret access key",
    ]  # fmt: skip
    assert standard.host.placeholder == "https://lakefs.example.com"
    assert standard.port.placeholder == "443; the Test button needs a port"
    assert standard.url_schema.hidden
    fields = form.extra_fields
    assert list(fields) == list(CONN_FIELDS)
    assert fields["verify_ssl"]["value"] is True
    assert fields["verify_ssl"]["schema"]["type"] == ["boolean", "null"]
    assert fields["token"]["schema"]["format"] == "password"


def test_airflow_3_1_reads_the_form_from_the_hook(mocker: MockerFixture) -> None:
    from airflow_provider.hooks import LakeFSHook

    wtforms = mocker.MagicMock()
    mocker.patch.dict(sys.modules, wtforms=wtforms)
    kinds = {"boolean": wtforms.BooleanField, "password": wtforms.PasswordField}
    widgets = LakeFSHook.get_connection_form_widgets()
    assert list(widgets) == list(CONN_FIELDS)
    for name, field in CONN_FIELDS.items():
        kind = field["schema"].get("format", field["schema"]["type"][0])
        assert widgets[name] is kinds.get(kind, wtforms.StringField).return_value, name
    behaviour = LakeFSHook.get_ui_field_behaviour()
    assert set(behaviour) == {"hidden_fields", "relabeling", "placeholders"}


def test_filesystems_and_plugins_import() -> None:
    for module in INFO["filesystems"]:
        assert import_module(module).schemes == ["lakefs"]
    for plugin in INFO["plugins"]:
        module, _, name = plugin["plugin-class"].rpartition(".")
        assert getattr(import_module(module), name).name == plugin["name"]
