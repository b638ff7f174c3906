"""Disable one check of the publishing code at a time, and see whether the conservation test notices.

::

    python tests/flows/mutations.py 60  # at most so many seeds for each mutation

Each mutation runs in a copy of the package. The program fails if one survives.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TEST = "tests/flows/test_conservation.py"


class Mutation(NamedTuple):
    """A line of code, and what replaces it."""

    module: str
    line: str
    replacement: str


MUTATIONS = {
    "the audited commit is kept when an audit begins": Mutation(
        "publish", "self._audit_began, self.audited = True, None", "self._audit_began = True"
    ),
    "failed checks pass": Mutation("publish", "        if failed:", "        if False:"),
    "the branch is not compared with the audited commit": Mutation(
        "publish",
        "            if differs(self.client, self.repository, audited, self.branch):",
        "            if differs(self.client, self.repository, audited, self.branch) and False:",
    ),
    "a second publication returns the first": Mutation(
        "publish", "if self.published is None or self._merged != audited:", "if self.published is None:"
    ),
    "a second publication of the same commit is not confirmed": Mutation(
        "publish", "            self._confirm(self.published, audited)", "            pass"
    ),
    "the branch is deleted without a check after the merge": Mutation(
        "publish", "delete_checked(self.client, self.repository, self.branch, check)",
        "delete_checked(self.client, self.repository, self.branch, lambda: None)",
    ),
    "an earlier merge of another commit counts": Mutation(
        "publish", "if found is None or (audited is not None and audited not in found.parents):", "if found is None:"
    ),
    "an earlier merge counts although it was undone": Mutation(
        "publish", "return None if is_undone(self.client, self.repository, found, self.into) else found.id",
        "return found.id",
    ),
    "a merge may bring only the rest of what was undone": Mutation(
        "publish", "if self.retried or self._merged is not None:", "if False:"
    ),
    "all seals have one key": Mutation("publish", 'f"write/{uuid.uuid4().hex[:8]}"', '"write"'),
    "a found effect counts although it was undone": Mutation(
        "step", "return None if is_undone(client, repository, found, branch) else found.id", "return found.id"
    ),
    "a found merge counts although its source has more": Mutation(
        "step", "if source is not None and not self._has_source(", "if False and not self._has_source("
    ),
    "an undone effect counts if nothing has changed": Mutation(
        "step", "raise\n            if is_undone(self.client, self.repository, found, branch):",
        "raise\n            if False:",
    ),
    "an effect of an earlier call is taken for this one's": Mutation(
        "step", "branch, marked[ATTEMPT], name=ATTEMPT)\n        return found.id if found else None",
        "branch, self.key)\n        return found.id if found else None",
    ),
    "any branch with the run's name is accepted": Mutation(
        "ensure", "accepted = retried or own", "accepted = True"
    ),
    "any branch is accepted by a retry": Mutation(
        "ensure", "if found.get(KEY) == key and found.get(INTO_KEY) == into:", "if True:"
    ),
    "uncommitted changes are deleted": Mutation(
        "history", "if uncommitted or unmerged or undone:", "if unmerged or undone:"
    ),
    "commits that are not merged are deleted": Mutation(
        "history", "if uncommitted or unmerged or undone:", "if uncommitted or undone:"
    ),
    "branches with an undone merge are deleted": Mutation(
        "history", "if not uncommitted and not unmerged and (undone :=", "if False and (undone :="
    ),
    "nothing is ever undone": Mutation(
        "history", "if not commit.parents or (head :=", "if True or (head :="
    ),
}  # fmt: skip


CONTROL = "no mutation"
"""The unchanged package. It must pass all seeds, or a mutation could be "found" by an unrelated failure."""


def mutated(mutation: Mutation) -> str:
    """Return the source of a module with a mutation."""
    source = (ROOT / "lakefs_ops" / "flows" / f"{mutation.module}.py").read_text()
    assert source.count(mutation.line) == 1, f"{mutation.module} does not have the line once: {mutation.line}"
    return source.replace(mutation.line, mutation.replacement)


def survives(name: str, seeds: int) -> bool:
    """Return whether the conservation test passes in spite of a mutation."""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("lakefs_ops", "tests/flows", "tests/chaos.py", "tests/conftest.py", "pyproject.toml"):
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            (Path(folder) / part).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / part, Path(folder) / part)
        if name != CONTROL:
            mutation = MUTATIONS[name]
            (Path(folder) / "lakefs_ops" / "flows" / f"{mutation.module}.py").write_text(mutated(mutation))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", TEST, "-k", "nothing_is_lost"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder, "LAKEFS_OPS_SEEDS": str(seeds)},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = re.search(r"FAILED .*\[(\d+)\]", done.stdout)
    reason = re.search(r"^E +(\S.*)", done.stdout, re.MULTILINE)
    if failed is None and done.returncode:
        raise RuntimeError(f"{name}: the test did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    found = f"found by seed {failed[1]}: {reason[1] if reason else ''}" if failed else "NOT FOUND"
    print(f"{name}: {found}"[:200], flush=True)
    return failed is None


def main() -> None:
    seeds, *names = sys.argv[1:] or ["60"]
    chosen = [name for name in MUTATIONS if not names or any(part in name for part in names)]
    if not survives(CONTROL, int(seeds)):
        sys.exit("the test fails without a mutation, so it can prove nothing")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        survivors = sum(pool.map(lambda name: survives(name, int(seeds)), chosen))
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations found")
    sys.exit(survivors > 0)


if __name__ == "__main__":
    main()
