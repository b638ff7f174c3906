"""A YAML loader with the types of lakeFS's parser."""

from __future__ import annotations

import re

import yaml  # type: ignore[import-untyped]


class YamlLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Loads YAML as lakeFS does: ``on``, ``yes`` and dates are strings."""


_PLAIN = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag not in _PLAIN]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
