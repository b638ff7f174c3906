"""Environments: each has its own branches, so that code under test reads and writes there instead of on `main`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakefs_ops.errors import ConfigurationError, InvalidArgument
from lakefs_ops.flows.names import readable_name

if TYPE_CHECKING:
    from lakefs_ops.call import Call
    from lakefs_ops.client import LakeFSClient

AUTO, PRODUCTION = "auto", "production"
_VALID = re.compile("[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*")


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment other than production.

    Its branches are ``env-NAME`` for ``main``, and ``env-NAME--BRANCH`` for any other branch. If the environment's name
    cannot be a part of a branch's name, its valid part is used, with a hash.

    Attributes:
        name: the environment's name.
    """

    name: str

    def branch(self, name: str) -> str:
        """Return the environment's branch for a branch; for a branch of the environment, the branch itself."""
        own = self._main
        if name == own or name.startswith(f"{own}--"):
            return name
        return own if name == "main" else f"{own}--{name}"

    def base(self, branch: str) -> str:
        """Return the branch that one of the environment's branches is created from."""
        return branch.removeprefix(self._main).removeprefix("--") or "main"

    def guard(self, client: LakeFSClient) -> Callable[[Call[Any]], None]:
        """Return a function that refuses calls that would change a repository's default branch.

        Args:
            client: the client, to read the name of the default branch.
        """
        defaults: dict[str, str] = {}

        def check(call: Call[Any]) -> None:
            repository = call.path_params.get("repository")
            if call.reads or repository is None:
                return
            if call.operation == "mergePullRequest":
                raise self._refusal(call, "must not merge pull requests; merge the source with a merge")
            changed = call.path_params.get("branch", call.path_params.get("destinationBranch"))
            if changed is None:
                return
            if repository not in defaults:
                defaults[repository] = client.repositories.get(repository).default_branch
            if changed in ("main", defaults[repository]):
                raise self._refusal(call, f"must not change {changed!r}; use LakeFSResource.branch({changed!r})")

        return check

    @property
    def _main(self) -> str:
        if _VALID.fullmatch(self.name):
            return f"env-{self.name}"
        return f"env-{readable_name(self.name)}"

    def _refusal(self, call: Call[Any], text: str) -> InvalidArgument:
        return InvalidArgument(f"{call} was not sent: environment {self.name!r} {text}")


def find_environment(name: str | None, variables: Mapping[str, str]) -> Environment | None:
    """Return the environment with a name; None for production.

    Args:
        name: the name; ``auto`` for the pull request of a branch deployment, and for production elsewhere;
            ``production`` or None for production.
        variables: the environment variables.

    Raises:
        ConfigurationError: the name is empty, or the branch deployment has no name.
    """
    if name is None or name == PRODUCTION:
        return None
    if name == AUTO:
        if variables.get("DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT", "0").lower() in ("", "0", "false"):
            return None
        if pull_request := variables.get("DAGSTER_CLOUD_PULL_REQUEST_ID"):
            return Environment(f"pr-{pull_request}")
        if deployment := variables.get("DAGSTER_CLOUD_DEPLOYMENT_NAME"):
            return Environment(deployment)
        raise ConfigurationError(
            "LakeFSResource.environment is 'auto', but the branch deployment has neither DAGSTER_CLOUD_PULL_REQUEST_ID"
            " nor DAGSTER_CLOUD_DEPLOYMENT_NAME; set one of them"
        )
    if not name.strip():
        raise ConfigurationError(
            "LakeFSResource.environment is empty; set it to a name, or to 'production' to use main itself"
        )
    return Environment(name)
