"""Read lakectl's configuration file, ``~/.lakectl.yaml``, without a YAML library.

Only the sections ``server`` and ``credentials`` are read, and only the YAML that lakectl writes: nested ``key: value``
lines with plain or quoted values. As in lakectl, the case of keys is ignored, and ``server.endpoint_url: ...`` is the
same as the nested key. Other YAML in these sections (anchors, tags, lists, braces, multi-line text) raises an error
with the line number. Other sections are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from lakefs_ops.errors import ConfigurationError

SECTIONS = ("server", "credentials")

_LINE = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z_][\w.-]*|\"[^\"\\]*\"|'[^']*'):(?:[ \t]+(?P<value>.*))?$")
_SINGLE = re.compile(r"'((?:[^']|'')*)'\s*(?:#.*)?$")
_DOUBLE = re.compile(r"(\"(?:[^\"\\]|\\.)*\")\s*(?:#.*)?$")
_NOT_PLAIN = tuple("&*!|>[]{}%@`\"'")


def read(path: Path) -> dict[str, str] | None:
    """Read the file.

    Args:
        path: the path of the file.

    Returns:
        Values by dotted key in lower case, such as ``credentials.access_key_id``; None if the file does not exist.

    Raises:
        ConfigurationError: the file cannot be read or parsed; the message never contains a value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(f"{path} cannot be read: {reason}; correct or remove it") from None
    return dict(_entries(text, path))


def _entries(text: str, path: Path) -> Iterator[tuple[str, str]]:
    parents: list[tuple[int, str]] = []
    section, outermost = "", None
    for number, line in enumerate(text.splitlines(), 1):
        if line.partition("#")[0].strip() in ("", "---", "..."):
            continue
        match = _LINE.match(line)
        indent = len(line) - len(line.lstrip(" "))
        outermost = indent if outermost is None else outermost
        top_level = indent <= outermost and line[indent] not in "\t-"
        if indent < outermost or (not match and (top_level or section in ("", *SECTIONS))):
            raise _not_understood(path, number)
        if not match:
            continue
        key = match["key"].strip("\"'").lower()
        if top_level:
            section = key.partition(".")[0]
        if section not in SECTIONS:
            continue
        while parents and parents[-1][0] >= indent:
            parents.pop()
        value = _scalar((match["value"] or "").strip(), path, number)
        name = ".".join([*(name for _, name in parents), key])
        if value is None:
            parents.append((indent, key))
        else:
            yield name, value


def _scalar(text: str, path: Path, number: int) -> str | None:
    """Return the value of a line, None if the line has only a key."""
    if not text or text.startswith("#"):
        return None
    if match := _SINGLE.match(text):
        return match[1].replace("''", "'")
    if match := _DOUBLE.match(text):
        try:
            return str(json.loads(match[1]))
        except ValueError:
            raise _not_understood(path, number) from None
    if text.startswith(_NOT_PLAIN) or ": " in text or text.startswith(("- ", "? ")):
        raise _not_understood(path, number)
    text = re.split(r"\s+#", text)[0]
    return "" if text in ("~", "null") else text


def _not_understood(path: Path, number: int) -> ConfigurationError:
    return ConfigurationError(
        f"line {number} of {path} is not understood; in {' and '.join(SECTIONS)}, write one `key: value` per line,"
        " or pass the values as arguments or environment variables"
    )
