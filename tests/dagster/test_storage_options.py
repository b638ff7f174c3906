"""Data tools with the Dagster resource: options, addresses in environments, and Delta tables that are published."""

from __future__ import annotations

import dagster as dg
import deltalake
import polars as pl
import pyarrow as pa
import pytest

from dagster_resources import LakeFSResource, build_lakefs_publish_asset
from lakefs_ops.errors import ConfigurationError, InvalidArgument

SECRET = "secret-of-the-resource"
COMMIT = "0" * 64


@pytest.fixture
def staging(resource):
    resource = resource.model_copy(update={"environment": "staging"})
    yield resource
    resource.get_client().close()


def test_the_options_are_those_of_the_client(lakefs, resource):
    assert resource.storage_options("polars") == lakefs.client.storage_options("polars")
    assert resource.storage_uri("pyarrow", "lake", "dev", "a") == "lake/dev/a"
    assert resource.storage_uri("polars", "lake") == "s3://lake/main/"
    with pytest.raises(InvalidArgument, match="unknown tool 'excel'"):
        resource.storage_options("excel")
    with pytest.raises(InvalidArgument, match="needs a ref"):
        resource.storage_uri("polars", "lake", "")
    assert lakefs.secret_access_key not in repr(resource)


def test_fields_from_the_environment(monkeypatch):
    monkeypatch.setenv("LAKE_SECRET", SECRET)
    fields = {"endpoint": "https://lakefs.example.com", "access_key_id": "AKIAEXAMPLE"}
    resource = LakeFSResource(**fields, secret_access_key=dg.EnvVar("LAKE_SECRET"))
    assert resource.storage_options("spark", repository="lake")["spark.hadoop.fs.s3a.bucket.lake.secret.key"] == SECRET
    with pytest.raises(ConfigurationError, match="the login is a token") as raised:
        LakeFSResource(endpoint=fields["endpoint"], token=SECRET).storage_options("duckdb")
    assert SECRET not in str(raised.value)


def test_addresses_in_an_environment(staging, lakefs, lakefs_repository):
    lakefs.client.objects.upload(lakefs_repository, "main", "a.csv", b"a\n1\n")
    lakefs.client.commits.create(lakefs_repository, "main", message="main")
    options = staging.storage_options("polars")
    address = staging.storage_uri("polars", lakefs_repository, "main", "a.csv")
    assert address == f"s3://{lakefs_repository}/env-staging/a.csv"
    assert pl.read_csv(address, storage_options=options).height == 1  # the branch was created from main
    pl.DataFrame({"a": [1, 2]}).write_csv(address, storage_options=options)
    assert lakefs.client.objects.get(lakefs_repository, "main", "a.csv") == b"a\n1\n"
    for ref in (COMMIT, "dagster-1", "env-staging"):
        assert staging.storage_uri("polars", lakefs_repository, ref, "a").split("/")[3] == ref


def appending(repository, number, *, name="sales", scheme="s3"):
    @dg.asset(name=name)
    def sales(context, lakefs: LakeFSResource) -> None:
        branch = lakefs.run_branch(context, repository)
        deltalake.write_deltalake(
            f"{scheme}://{repository}/{branch.ensure()}/tables/sales",
            pa.table({"id": [number]}),
            mode="append",
            storage_options=lakefs.storage_options("deltalake"),
        )
        if scheme == "s3":
            branch.commit("Append a sale")

    @dg.asset_check(asset=sales, blocking=True, name="readable")
    def readable(context, lakefs: LakeFSResource) -> dg.AssetCheckResult:
        address = lakefs.storage_uri(
            "deltalake", repository, lakefs.run_branch(context, repository).ref, "tables/sales"
        )
        table = deltalake.DeltaTable(address, storage_options=lakefs.storage_options("deltalake"))
        return dg.AssetCheckResult(passed=number in table.to_pyarrow_table()["id"].to_pylist())

    publication = build_lakefs_publish_asset(name="on_main", deps=[sales], repository=repository)
    return sales, readable, publication


def ids(lakefs, repository):
    address = lakefs.client.storage_uri("deltalake", repository, "main", "tables/sales")
    table = deltalake.DeltaTable(address, storage_options=lakefs.client.storage_options("deltalake"))
    return sorted(table.to_pyarrow_table()["id"].to_pylist())


@pytest.mark.parametrize("scheme", ["s3", "lakefs"])
def test_a_publish_asset_publishes_a_table(resource, materialize, lakefs, lakefs_repository, scheme):
    for number in (1, 2):
        assert materialize(appending(lakefs_repository, number, scheme=scheme), resource).success
    assert ids(lakefs, lakefs_repository) == [1, 2]
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository, show_hidden=True)] == ["main"]


def test_a_run_next_to_another_one_is_refused_with_advice(resource, materialize, lakefs, lakefs_repository, sentence):
    assert materialize(appending(lakefs_repository, 1), resource).success
    sales, readable, publication = appending(lakefs_repository, 2)

    @dg.asset(deps=[sales])
    def somebody_else() -> None:
        table = lakefs.client.storage_uri("deltalake", lakefs_repository, "main", "tables/sales")
        options = lakefs.client.storage_options("deltalake")
        deltalake.write_deltalake(table, pa.table({"id": [3]}), mode="append", storage_options=options)
        lakefs.client.commits.create(lakefs_repository, "main", message="Somebody")

    run = materialize([sales, readable, somebody_else, publication], resource)
    assert not run.success
    assert "both wrote to the Delta table tables/sales: repeat the write on a new branch from 'main'" in sentence(run)
    assert ids(lakefs, lakefs_repository) == [1, 3]
    assert materialize(appending(lakefs_repository, 2), resource).success
    assert ids(lakefs, lakefs_repository) == [1, 2, 3]
