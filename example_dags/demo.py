"""Demo: write, audit, publish through Airflow and through Dagster, on an embedded lakeFS.

Run ``make demo``, or ``python -m example_dags.demo``. Each host publishes a month of real weather data, then refuses a
spoiled one. Webhooks of lakeFS start its runs for exactly the days that a commit, and its revert, have changed. Then a
task is killed after its merge took effect but before it received the response, and is retried. A
backfill of a year is published with one merge, and a commit that spoils it is found and undone. At last, lakeFS itself
refuses a merge by hand that no audit has passed. The demo ends with the outcome of each run, the
commits of `main`, and links to both. The exit status is 0 only if every outcome is as expected.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import IO

from example_dags import weather
from example_dags.backfill import MONTHS, run_backfill
from example_dags.enforced import run_gate
from example_dags.pushed import CHANGED, REPOSITORY, write_year
from example_dags.reporting import Outcome, Pushed, read_events
from lakefs_ops import LakeFSClient
from lakefs_ops.api.common import Commit
from lakefs_ops.errors import LakeFSError
from lakefs_ops.flows.webhooks import VARIABLE
from lakefs_ops.local.faults import Fault, Faults

ROOT = Path(__file__).parent.parent
GOOD, SPOILED = weather.DATA / "monthly", weather.DATA / "spoiled"
HOSTS: Mapping[str, Sequence[tuple[str, Path]]] = {
    "Airflow": [("2013-01", GOOD), ("2013-03", SPOILED)],
    "Dagster": [("2013-02", GOOD), ("2013-03", SPOILED)],
}
RETRIED = "Killed and retried"
KILLED = "2013-04"
"""The month that is published by a task that is killed and retried."""

GRACE = 2.0
"""Seconds that a host's process gets to end after SIGTERM."""


class DemoFailed(Exception):
    """A part of the demo did not work."""


# output -----------------------------------------------------------------------------------------------------

COLORS = {"green": 32, "red": 31, "yellow": 33, "cyan": 36, "bold": 1, "dim": 2}


def paint(text: str, *colors: str) -> str:
    """Color the text, on a terminal."""
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return "".join(f"\033[{COLORS[color]}m" for color in colors) + text + "\033[0m"


class Progress:
    """The progress of a long step: one live line on a terminal, otherwise a line for each part."""

    def __init__(self, title: str) -> None:
        self._title, self._begun, self._live = title, time.monotonic(), sys.stdout.isatty()
        self._part, self._done = "", threading.Event()
        self._painter = threading.Thread(target=self._repaint, daemon=True)

    def say(self, part: str) -> None:
        """Show the part that starts now."""
        self._part = part
        if not self._live:
            print(f"    {self._seconds()}  {part}", flush=True)

    def __enter__(self) -> Progress:
        if self._live:
            self._painter.start()
        else:
            print(f"  ... {self._title}", flush=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._done.set()
        if self._live:
            self._painter.join()
        mark = paint("ok ", "green") if kind is None else paint("-- ", "red")
        print(f"{self._clear()}  {mark} {self._title:58}{paint(self._seconds(), 'dim')}", flush=True)

    def _repaint(self) -> None:
        while not self._done.wait(0.1):
            part = f": {self._part}" if self._part else ""
            print(f"{self._clear()}  ... {self._title}{part}  {paint(self._seconds(), 'dim')}", end="", flush=True)

    def _clear(self) -> str:
        return "\r\033[K" if self._live else ""

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._begun:5.1f} s"


def show_outcome(host: str, outcome: Outcome, client: LakeFSClient, repository: str) -> None:
    """Print the outcome of a batch."""
    published = outcome.state == "published"
    verdict = paint(outcome.state.upper(), "bold", "green" if published else "red")
    print(f"\n  {paint(host, 'bold')}  {outcome.month}  {verdict}")
    print(f"    branch  {outcome.branch}{paint(', merged and deleted' if published else ', kept', 'dim')}")
    passed = [check["name"] for check in outcome.checks if check["passed"]]
    if passed:
        print(f"    {paint('passed', 'green')}  {', '.join(passed)}")
    for check in outcome.checks:
        if findings := check["findings"]:
            print(f"    {paint('failed', 'red')}  {check['name']}: {findings[0]}{and_more(len(findings) - 1)}")
    if not published:
        if client.branches.diff(repository, outcome.branch).first():
            print(f"    {paint('changes', 'yellow')} {client.links.uncommitted(repository, outcome.branch)}")
        else:
            print(f"    {paint('compare', 'yellow')} {client.links.compare(repository, 'main', outcome.branch)}")


def and_more(count: int) -> str:
    """Return a remark on further findings."""
    return f" (and {count} more)" if count else ""


def graph(client: LakeFSClient, repository: str) -> Iterator[str]:
    """Draw the commits of main, newest first."""
    log = list(client.refs.log(repository, "main"))
    commits = {commit.id: commit for commit in log}
    line, at = [], log[0].id if log else None
    while at:
        line.append(commits[at])
        at = next(iter(commits[at].parents), None)
    own = {commit.id for commit in line}
    for commit in line:
        yield f"*   {describe_commit(commit)}"
        side = [] if len(commit.parents) < 2 else [commit.parents[1]]
        if side:
            yield "|\\"
        while side and side[-1] not in own:
            yield f"| * {describe_commit(commits[side[-1]])}"
            side += commits[side[-1]].parents[:1] or list(own)
        if side:
            yield "|/"


def describe_commit(commit: Commit) -> str:
    """Return one line with a commit's id, message and host."""
    marks = {key.split("::")[2] for key in commit.metadata if key.startswith("::lakefs::")}
    return f"{paint(commit.id[:10], 'yellow')}  {commit.message:40}{paint(' '.join(sorted(marks)), 'cyan')}"


# processes --------------------------------------------------------------------------------------------------


def run_host(
    host: str,
    batches: Sequence[tuple[str, Path]],
    repository: str,
    server: Mapping[str, str],
    home: Path,
    say: Callable[[str], None],
    pushed: dict[str, Pushed] | None = None,
) -> list[Outcome]:
    """Run batches through a host in its own process, and return their outcomes.

    With ``pushed``, the host shows the scene with webhooks, too, and its result is stored there.
    """
    home.mkdir(parents=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "DAGSTER", "LAKE"))}
    environment = clean | {"WEATHER_REPOSITORY": repository, "PYTHONPATH": str(ROOT)}
    if host == "Airflow":
        connection = {
            "conn_type": "lakefs",
            "host": server["endpoint"],
            "login": server["access_key_id"],
            "password": server["secret_access_key"],
        }
        environment |= {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "example_dags" / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW_CONN_LAKEFS_DEFAULT": json.dumps(connection),
        }
    else:
        environment |= {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes"}
        environment |= {f"LAKEFS_{name.upper()}": value for name, value in server.items()}
    if pushed is not None:
        environment |= {REPOSITORY: f"pushed-{repository}", VARIABLE: os.environ[VARIABLE]}
    words = [f"{month}={inbox}" for month, inbox in batches]
    return run_module(f"run_{host.lower()}", words, environment, home.parent / f"{host.lower()}.log", say, pushed)


def run_module(
    module: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    say: Callable[[str], None],
    pushed: dict[str, Pushed] | None = None,
) -> list[Outcome]:
    """Run one of the examples' programs, and return the outcome of each batch."""
    outcomes = []
    command = [sys.executable, "-m", f"example_dags.{module}", *words]
    with log.open("a") as errors, process(command, environment, errors) as child:
        for event in read_events(child.stdout or ()):
            if isinstance(event, Outcome):
                outcomes.append(event)
            elif isinstance(event, Pushed) and pushed is not None:
                pushed[event.host] = event
            elif isinstance(event, str):
                say(event)
        status = child.wait()
    if status or len(outcomes) != sum("=" in word for word in words):
        raise DemoFailed(f"{module} ended with exit status {status}; see its log, {short_path(log)}")
    return outcomes


def run_killed(
    repository: str, server: Mapping[str, str], faults: Faults, logs: Path, say: Callable[[str], None]
) -> list[Outcome]:
    """Kill a task before it receives the response to its merge, and retry it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LAKE")}
    environment = clean | {"WEATHER_REPOSITORY": repository, "PYTHONPATH": str(ROOT)}
    environment |= {f"LAKEFS_{name.upper()}": value for name, value in server.items()}
    log, words = logs / "publish.log", [f"{KILLED}={GOOD}"]
    held = faults.add(Fault("mergeIntoBranch", when="after", action="delay", seconds=60))
    command = [sys.executable, "-m", "example_dags.run_publish", *words]
    with log.open("w") as errors, process(command, environment, errors) as child:
        say("first try, until it merges")
        if not held.wait(30):
            raise DemoFailed(f"the task did not reach its merge; see its log, {short_path(log)}")
        say("the merge took effect; its response is lost, and the task is killed")
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    faults.clear()
    return run_module("run_publish", ["--retried", *words], environment, log, lambda part: say(f"next try: {part}"))


@contextmanager
def process(command: Sequence[str], environment: Mapping[str, str], log: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a command in its own session, and end all of its processes at the end."""
    child = subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        cwd=ROOT,
        text=True,
        start_new_session=True,
    )
    try:
        with child:
            try:
                yield child
            finally:
                with suppress(ProcessLookupError):
                    if child.poll() is None:
                        os.killpg(child.pid, signal.SIGTERM)
                        with suppress(subprocess.TimeoutExpired):
                            child.wait(GRACE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def short_path(path: Path) -> str:
    """Return the path, relative to the working directory if possible."""
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


# verification -----------------------------------------------------------------------------------------------


def problems(
    client: LakeFSClient, repository: str, history: Sequence[str], outcomes: Mapping[str, Sequence[Outcome]]
) -> Iterator[str]:
    """Compare the content of lakeFS with the expected content; yield one sentence for each difference."""
    published = [*history, KILLED]
    if [outcome.state for outcome in outcomes[RETRIED]] != ["published"]:
        yield f"{KILLED} must be published by the second try"
    merges = [c for c in client.refs.log(repository, "main") if KILLED in c.message and len(c.parents) > 1]
    if len(merges) != 1:
        yield f"main must have one merge of {KILLED}, but has {len(merges)}"
    for host, batches in HOSTS.items():
        for (month, inbox), outcome in zip(batches, outcomes[host], strict=True):
            expected = "published" if inbox == GOOD else "refused"
            if outcome.state != expected:
                yield f"{host}: {month} must be {expected}, but was {outcome.state}: {outcome.error}"
            kept = any(client.branches.list(repository, prefix=outcome.branch))
            if kept != (expected == "refused"):
                yield f"{host}: the branch {outcome.branch} must be {'gone' if kept else 'kept'}"
            if kept:
                batch = client.objects.get(repository, outcome.branch, weather.raw_path(month))
                if batch != weather.read_batch(inbox, month):
                    yield f"{host}: the branch {outcome.branch} must hold the batch as delivered"
            if expected == "published":
                published.append(month)
    must = {path: table for month in published for path, table in weather.tables(GOOD, month).items()}
    found = {
        entry.path: client.objects.get(repository, "main", entry.path)
        for entry in client.objects.list(repository, "main")
    }
    for path in sorted(must.keys() | found.keys()):
        if path not in found:
            yield f"main must hold {path}"
        elif path not in must:
            yield f"main must not hold {path}"
        elif found[path] != must[path]:
            yield f"main holds {path} with wrong content"
    # Without the empty first commits of the runs' branches.
    commits = sum(not commit.message.startswith("Create branch ") for commit in client.refs.log(repository, "main"))
    expected_commits = 2 + 2 * (len(published) - len(history))  # creation and history; each batch and its merge
    if commits != expected_commits:
        yield f"main must have {expected_commits} commits, but has {commits}"


def show(data: Path, *, serve: bool) -> bool:
    """Run everything, print the outcomes, and return whether all are as expected."""
    from lakefs_ops.local import LocalLakeFS

    run = datetime.now().strftime("%Y%m%d-%H%M%S")
    repository, logs = f"weather-{run}", data / "runs" / run
    print(f"{paint('Write, audit, publish', 'bold')}: real weather data, an embedded lakeFS, Airflow and Dagster")
    print(paint(f"  data and logs are kept in {short_path(data)}/\n", "dim"))
    with LocalLakeFS(data=data / "lakefs") as local:
        server = {
            "endpoint": local.endpoint,
            "access_key_id": local.access_key_id,
            "secret_access_key": local.secret_access_key,
        }
        with LakeFSClient(
            local.endpoint, access_key_id=local.access_key_id, secret_access_key=local.secret_access_key
        ) as client:
            print(f"  {paint('ok ', 'green')} an embedded lakeFS at {local.endpoint}")
            with Progress(f"repository {repository}, the weather of 2012 on main"):
                client.repositories.create(name=repository, storage_namespace=f"local://{repository}")
                history = weather.load_history(client, repository)
            os.environ[VARIABLE] = secrets.token_hex(32)  # the embedded lakeFS reads it
            write_year(client, f"pushed-{repository}")
            outcomes, pushed = {}, dict[str, Pushed]()
            for host, batches in HOSTS.items():
                months = " and ".join(describe_batch(month, inbox) for month, inbox in batches)
                with Progress(f"{host}: {months}") as progress:
                    outcomes[host] = run_host(
                        host, batches, repository, server, logs / host.lower(), progress.say, pushed
                    )
            with Progress(f"{KILLED} by a task that is killed and retried") as progress:
                outcomes[RETRIED] = run_killed(repository, server, local.faults, logs, progress.say)
            with Progress("a backfill of 2013 as one merge; a commit that breaks it") as progress:
                backfilled = run_backfill(server, f"backfill-{run}", progress.say)
            with Progress("a merge by hand, before and after the audit"):
                refused, merged = run_gate(server, f"enforced-{run}")
            for host, results in outcomes.items():
                for outcome in results:
                    show_outcome(host, outcome, client, repository)
            print(f"\n  {paint('Webhooks', 'bold')}  3 of 365 days are changed, and changed back; nobody polls")
            for host, push in pushed.items():
                print(
                    f"    {paint(host, 'green')}  runs for {', '.join(push.days)}, after the revert for"
                    f" {', '.join(push.reverted)}; the events came within {push.seconds:.1f} s"
                )
            print(f"\n  {paint('Backfill', 'bold')}  {backfilled.collected} months, {backfilled.merges} merge")
            print(f"    {paint('merge', 'green')}   {backfilled.url}")
            print(
                f"    {paint('bisect', 'yellow')}  {backfilled.audits} audits found the bad commit"
                f" {backfilled.first_bad[:10]} by hand, which is undone"
            )
            print(f"\n  {paint('By hand', 'bold')}")
            print(f"    {paint('before the audit', 'red')}  lakeFS refuses the merge: {refused}")
            print(f"    {paint('after the audit', 'green')}   {merged}")
            print(f"\n  {paint('main', 'bold')} of {repository}")
            for line in graph(client, repository):
                print(f"    {line}")
            print(f"\n    commits  {client.links.commits(repository, 'main')}")
            print(f"    objects  {client.links.objects(repository, 'main')}")
            wrong = list(problems(client, repository, history, outcomes))
            for host in HOSTS:
                if host not in pushed or [*pushed[host].days] != CHANGED or [*pushed[host].reverted] != CHANGED:
                    wrong.append(f"{host} must run exactly the days that the commit and its revert have changed")
            if (backfilled.merges, backfilled.collected) != (1, len(MONTHS)):
                wrong.append("the backfill must bring its months to main with one merge")
            if backfilled.first_bad != backfilled.by_hand or not backfilled.restored:
                wrong.append("the commit by hand must be found and undone")
            if not refused or not merged:
                wrong.append("lakeFS must refuse a merge by hand before the audit, and accept it afterwards")
            show_end(wrong, data, logs, local.endpoint)
            if serve and not wrong:
                print(f"\n  lakeFS is running at {local.endpoint}; press Ctrl-C to stop it")
                with suppress(KeyboardInterrupt):
                    threading.Event().wait()
    return not wrong


def describe_batch(month: str, inbox: Path) -> str:
    """Return the batch's month, marked if the batch is the spoiled one."""
    return month if inbox == GOOD else f"a spoiled {month}"


def show_end(wrong: Sequence[str], data: Path, logs: Path, endpoint: str) -> None:
    """Print the verdict, and how to open the links again."""
    if wrong:
        print(f"\n  {paint('Not as expected:', 'bold', 'red')}")
        for sentence in wrong:
            print(f"    - {sentence}")
    else:
        good = [month for batches in HOSTS.values() for month, inbox in batches if inbox == GOOD] + [KILLED]
        text = (
            f"main holds 2012 and {', '.join(good)}, each published by one merge, and nothing of the spoiled"
            " batches, whose branches are kept"
        )
        print(f"\n  {paint('As expected:', 'bold', 'green')} {text}")
    show_return(data, endpoint)
    print(f"  logs of the tasks: {short_path(logs)}/")


def show_return(data: Path, endpoint: str) -> None:
    """Print how to open the links again."""
    port = endpoint.rpartition(":")[2]
    command = (
        f"{short_path(Path(sys.executable).parent)}/lakefs-ops local --data {short_path(data / 'lakefs')} --port {port}"
    )
    print(f"\n  to open the links again: {paint(command, 'bold')}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m example_dags.demo", description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / ".demo", help="directory for the data and the logs")
    parser.add_argument("--serve", action="store_true", help="keep lakeFS running at the end, until Ctrl-C")
    given = parser.parse_args(arguments)

    def interrupt(number: int, _: FrameType | None) -> None:
        # The cleanup is short and bounded; a second Ctrl-C must not interrupt it.
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, interrupt)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"]))
    try:
        return 0 if show(given.data.absolute(), serve=given.serve) else 1
    except (DemoFailed, LakeFSError, OSError) as error:
        print(f"\n  {paint('The demo failed:', 'bold', 'red')} {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(f"\n  stopped; nothing is left running. {short_path(given.data)}/ keeps the data written so far.")
        return 128 + (stopped.args[0] if stopped.args else signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
