"""A real Dagster: ``dagster dev`` with its webserver, its daemon, its code server and a process for each run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import requests

from hosts import free_port, stop_group, wait_until

LOCATION = "definitions.py"
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
ENDS = ("SUCCESS", "FAILURE", "CANCELED")
IN_PROCESS = {"execution": {"config": {"in_process": {}}}}
"""The run configuration for one process instead of one for each step, which takes several seconds."""

INSTANCE = """
telemetry:
  enabled: false
run_coordinator:
  module: dagster._core.run_coordinator
  class: QueuedRunCoordinator
  config:
    max_concurrent_runs: 4
    dequeue_interval_seconds: 1
"""

ENTRY = """label __typename ... on TextMetadataEntry { text } ... on UrlMetadataEntry { url }
  ... on IntMetadataEntry { intValue } ... on JsonMetadataEntry { jsonString }"""
EVENTS = f"""query($run: ID!) {{ runOrError(runId: $run) {{ ... on Run {{ eventConnection(limit: 1000) {{ events {{
  __typename ... on MessageEvent {{ message stepKey eventType }}
  ... on ErrorEvent {{ error {{ message causes {{ message }} }} }}
  ... on ExecutionStepFailureEvent {{ failureMetadata {{ metadataEntries {{ {ENTRY} }} }} }}
  ... on MaterializationEvent {{ assetKey {{ path }} partition tags {{ key value }} metadataEntries {{ {ENTRY} }} }}
  ... on EngineEvent {{ metadataEntries {{ {ENTRY} }} }}
  ... on StepWorkerStartedEvent {{ metadataEntries {{ {ENTRY} }} }}
  ... on AssetCheckEvaluationEvent {{ evaluation {{ checkName success description metadataEntries {{ {ENTRY} }} }} }}
}} }} }} }} }}"""


@dataclass
class LiveDagster:
    """A running Dagster.

    Args:
        home: its directory, with ``code/definitions.py``.
        environment: further environment variables of its processes.
    """

    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def code(self) -> Path:
        return self.home / "code" / LOCATION

    @property
    def inbox(self) -> Path:
        """The folder with the data that the definitions read."""
        return self.home / "inbox"

    def start(self) -> None:
        (self.home / "dagster.yaml").write_text(INSTANCE)
        own = {"DAGSTER_HOME": str(self.home), "DAGSTER_DISABLE_TELEMETRY": "yes", "PYTHONWARNINGS": "ignore"}
        own |= {"DAGSTER_GRPC_TIMEOUT_SECONDS": "600"}  # otherwise a run fails if its process needs a minute to start
        own |= {"LIVE_INBOX": str(self.inbox), "LIVE_WEBSERVER": self.url}
        self.inbox.mkdir()
        command = [sys.executable, "-m", "dagster", "dev", "--python-file", str(self.code)]
        command += ["--working-directory", str(self.code.parent), "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.home / "dagster.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.home,
                env={**os.environ, **own, **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.session = requests.Session()
        wait_until(self._is_ready, f"Dagster; see {self.home}/dagster.log", timeout=300)

    def stop(self) -> None:
        stop_group(self.process, signal.SIGINT, timeout=10)

    wait_until = staticmethod(partial(wait_until, timeout=600.0))

    # GraphQL ----------------------------------------------------------------------------------------------------------

    def query(self, text: str, **variables: Any) -> Any:
        """Return the value of the only field of a query or a mutation."""
        response = self.session.post(f"{self.url}/graphql", json={"query": text, "variables": variables}, timeout=120)
        answer = response.json()
        assert "errors" not in answer, answer["errors"]
        (value,) = answer["data"].values()
        return value

    def mutate(self, name: str, expected: str, selection: str = "", /, **arguments: tuple[str, Any]) -> Any:
        """Return the answer of a mutation.

        Args:
            name: its name.
            expected: the type of its answer.
            selection: the fields of its answer.
            **arguments: for each argument its type and its value.
        """
        declared = ", ".join(f"${each}: {type_}" for each, (type_, _) in arguments.items())
        passed = ", ".join(f"{each}: ${each}" for each in arguments)
        answer = self.query(
            f"mutation({declared}) {{ {name}({passed}) {{ __typename ... on {expected} {{ __typename {selection} }}"
            " ... on Error { message } ... on PythonError { message stack } } }",
            **{each: value for each, (_, value) in arguments.items()},
        )
        assert answer["__typename"] == expected, answer
        return answer

    # runs -------------------------------------------------------------------------------------------------------------

    def launch(self, *assets: str, partition: str | None = None, config: Mapping[str, Any] | None = None) -> str:
        """Launch a run of assets and their checks; return its id."""
        tags = {"dagster/partition": partition} if partition else {}
        parameters = {
            "selector": {**REPOSITORY, "jobName": "__ASSET_JOB", "assetSelection": _keys(assets)},
            "runConfigData": IN_PROCESS if config is None else config,
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self.mutate(
            "launchRun", "LaunchRunSuccess", "run { runId }", executionParams=("ExecutionParams!", parameters)
        )
        return answer["run"]["runId"]

    def backfill(self, assets: Sequence[str], partitions: Sequence[str]) -> str:
        """Launch a backfill; return its id."""
        parameters = {
            "assetSelection": _keys(assets),
            "partitionNames": list(partitions),
            "runConfigData": IN_PROCESS,
        }
        answer = self.mutate(
            "launchPartitionBackfill",
            "LaunchBackfillSuccess",
            "backfillId",
            backfillParams=("LaunchBackfillParams!", parameters),
        )
        return answer["backfillId"]

    def execute_again(self, run_id: str, strategy: str) -> str:
        """Launch a re-execution of a run; return its id."""
        parameters = {"parentRunId": run_id, "strategy": strategy, "useParentRunTags": True}
        answer = self.mutate(
            "launchRunReexecution",
            "LaunchRunSuccess",
            "run { runId }",
            reexecutionParams=("ReexecutionParams", parameters),
        )
        return answer["run"]["runId"]

    def terminate(self, run_id: str) -> None:
        self.mutate("terminateRun", "TerminateRunSuccess", runId=("String!", run_id))

    def runs(self, **tags: str) -> dict[str, str]:
        """Return the states of the runs with tags."""
        wanted = [{"key": key, "value": value} for key, value in tags.items()]
        query = """query($tags: [ExecutionTag!]) {
            runsOrError(filter: {tags: $tags}) { ... on Runs { results { runId status } } } }"""
        return {run["runId"]: run["status"] for run in self.query(query, tags=wanted)["results"]}

    def state(self, run_id: str) -> str:
        query = "query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
        return self.query(query, run=run_id)["status"]

    def finish(self, run_id: str, *, timeout: float = 600.0) -> str:
        """Wait for the end of a run; return its state."""
        try:
            return wait_until(lambda: (state := self.state(run_id)) in ENDS and state, run_id, timeout=timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {self.log(run_id)}") from None

    def events(self, run_id: str, type_: str | None = None) -> list[dict[str, Any]]:
        """Return the events of a run, oldest first; each has ``metadata`` as a dictionary."""
        events = self.query(EVENTS, run=run_id)["eventConnection"]["events"]
        for event in events:
            details = event.get("evaluation") or event.get("failureMetadata") or event
            event["metadata"] = {each["label"]: _value(each) for each in details.get("metadataEntries", ())}
        return [event for event in events if type_ in (None, event["eventType"])]

    def materialized(self, run_id: str, asset: str) -> dict[str, Any]:
        """Return the metadata of the only materialization of an asset in a run."""
        events = self.events(run_id, "ASSET_MATERIALIZATION")
        (event,) = [each for each in events if each["assetKey"]["path"] == [asset]]
        return event["metadata"] | {tag["key"]: tag["value"] for tag in event["tags"]}

    def succeeded(self, run_id: str) -> list[str]:
        """Return the keys of the steps of a run that succeeded, in their order."""
        return [event["stepKey"] for event in self.events(run_id, "STEP_SUCCESS")]

    def log(self, run_id: str) -> str:
        """Return the messages of a run, with its errors."""
        lines = []
        for event in self.events(run_id):
            error = event.get("error") or {"message": "", "causes": []}
            lines += [event["message"] or event["eventType"] or "", error["message"]]
            lines += [cause["message"] for cause in error["causes"]]
        return "\n".join(filter(None, lines))

    # code -------------------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Load the code location again, and wait until it is loaded."""
        self.mutate(
            "reloadRepositoryLocation",
            "WorkspaceLocationEntry",
            "loadStatus",
            repositoryLocationName=("String!", LOCATION),
        )
        self.wait_until(self._is_loaded, "the code location")

    def assets(self) -> set[str]:
        return {node["assetKey"]["path"][-1] for node in self.query("{ assetNodes { assetKey { path } } }")}

    def start_sensor(self, name: str) -> None:
        self.mutate("startSensor", "Sensor", sensorSelector=("SensorSelector!", {**REPOSITORY, "sensorName": name}))

    def ticks(self, sensor: str) -> list[dict[str, Any]]:
        """Return the ticks of a sensor that ended, newest first."""
        query = """query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor {
            sensorState { ticks(limit: 50) { status runIds skipReason cursor error { message } } } } } }"""
        ticks = self.query(query, sensor={**REPOSITORY, "sensorName": sensor})["sensorState"]["ticks"]
        assert all(tick["status"] != "FAILURE" for tick in ticks), ticks
        return [tick for tick in ticks if tick["status"] != "STARTED"]

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, (self.home / "dagster.log").read_text()
        return self._is_loaded()

    def _is_loaded(self) -> bool:
        location = self.query(
            """query($name: String!) { workspaceLocationEntryOrError(name: $name) { ... on WorkspaceLocationEntry {
            loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } }""",
            name=LOCATION,
        )
        loaded = location.get("locationOrLoadError") or {}
        assert loaded.get("__typename") != "PythonError", loaded
        return location.get("loadStatus") == "LOADED" and bool(loaded)


@contextlib.contextmanager
def live_dagster(home: Path, environment: Mapping[str, str]) -> Iterator[LiveDagster]:
    dagster = LiveDagster(home, environment)
    try:
        dagster.start()
        yield dagster
    finally:
        dagster.stop()


def _keys(assets: Sequence[str]) -> list[dict[str, list[str]]]:
    return [{"path": [asset]} for asset in assets]


def _value(entry: Mapping[str, Any]) -> Any:
    return next((entry[key] for key in ("text", "url", "intValue", "jsonString") if key in entry), None)
