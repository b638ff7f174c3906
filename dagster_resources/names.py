"""The names that factories take, checked when the definitions are loaded."""

from __future__ import annotations

from dagster import EnvVar

from lakefs_ops.errors import InvalidArgument


def check_names(**names: object) -> None:
    """Check the names of repositories and branches, by argument.

    Raises:
        InvalidArgument: a name is not text, or blank, or an `EnvVar`, which only resources resolve.

    Example:
        >>> check_names(repository="weather", base="main")
    """
    for argument, name in names.items():
        if isinstance(name, EnvVar):
            raise InvalidArgument(
                f"{argument} must be text when the definitions are loaded; use"
                f" EnvVar({name.env_var_name!r}).get_value() instead of the EnvVar"
            )
        if not isinstance(name, str) or not name.strip():
            raise InvalidArgument(f"{argument} must be a name, got {name!r}")
