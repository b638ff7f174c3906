"""Airflow's paths to objects in lakeFS, over the Airflow connection."""

import json
import sys
from collections.abc import Callable

import pytest
from airflow.sdk import ObjectStoragePath
from pytest_mock import MockerFixture

from airflow_provider.fs.lakefs import get_fs
from lakefs_ops.errors import ConfigurationError

# Raised inside fsspec, which keeps the loop of its threads open.
pytestmark = pytest.mark.usefixtures("connection")


def test_a_path_reads_and_writes_with_the_connection(lakefs, lakefs_repository: str) -> None:
    path = ObjectStoragePath(f"lakefs://lakefs_default@{lakefs_repository}/main/stations/7.csv")
    assert not path.exists()
    path.write_text("day,celsius")
    assert lakefs.client.objects.get(lakefs_repository, "main", "stations/7.csv") == b"day,celsius"
    assert path.exists()
    assert path.read_text() == "day,celsius"
    assert path.stat().st_size == 11
    assert [each.name for each in path.parent.iterdir()] == ["7.csv"]
    path.unlink()
    assert not path.exists()


def test_a_write_does_not_create_a_branch(lakefs, lakefs_repository: str) -> None:
    path = ObjectStoragePath(f"lakefs://lakefs_default@{lakefs_repository}/misspelled/7.csv")
    with pytest.raises(FileNotFoundError):
        path.write_text("day,celsius")
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]


def test_the_file_transfer_of_airflow(lakefs, lakefs_repository: str, tmp_path) -> None:
    from airflow.providers.common.io.operators.file_transfer import FileTransferOperator

    (tmp_path / "7.csv").write_text("day,celsius")
    target = f"lakefs://lakefs_default@{lakefs_repository}/main/7.csv"
    FileTransferOperator(task_id="copy", src=f"file://{tmp_path}/7.csv", dst=target).execute({})
    assert lakefs.client.objects.get(lakefs_repository, "main", "7.csv") == b"day,celsius"


def test_the_xcoms_of_airflow(lakefs, lakefs_repository: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.common.io.xcom import backend

    path = f"lakefs://lakefs_default@{lakefs_repository}/main/xcom"
    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH", path)
    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD", "0")
    for cached in (backend._get_base_path, backend._get_compression, backend._get_threshold):
        cached.cache_clear()
    names = {"dag_id": "daily", "run_id": "run", "task_id": "task"}
    stored = backend.XComObjectStorageBackend.serialize_value({"a": 1}, key="return_value", **names)
    (entry,) = lakefs.client.objects.list(lakefs_repository, "main", prefix="xcom/daily/run/task/")
    assert json.loads(lakefs.client.objects.get(lakefs_repository, "main", entry.path)) == {"a": 1}
    assert entry.path in str(stored)


def test_the_secret_is_not_in_the_repr(connection: Callable[..., None]) -> None:
    connection(password="hush-hush")
    assert "hush-hush" not in repr(get_fs("lakefs_default"))


def test_without_lakefs_spec(mocker: MockerFixture) -> None:
    from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

    mocker.patch.dict(sys.modules, lakefs_spec=None)
    with pytest.raises(AirflowOptionalProviderFeatureException, match=r"pip install 'lakefs-ops\[fs\]'"):
        get_fs("lakefs_default")


def test_a_client_certificate_is_refused(connection: Callable[..., None]) -> None:
    connection(extra={"client_certificate": __file__})
    with pytest.raises(ConfigurationError, match="has a client certificate, which lakefs-spec does not support"):
        get_fs("lakefs_default")
