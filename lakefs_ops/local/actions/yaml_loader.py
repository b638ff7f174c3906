"""A YAML loader with the types of lakeFS's parser."""

from __future__ import annotations

import itertools
import re

import yaml  # type: ignore[import-untyped]

MAX_ALIASED = 400_000
"""By how many nodes, or pieces of 64 characters, aliases may enlarge a document."""


class YamlLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Loads YAML as lakeFS does: ``on``, ``yes`` and dates are strings, and aliases are limited."""

    def compose_document(self) -> yaml.Node:
        """Return a document.

        Raises:
            yaml.YAMLError: its aliases make it much larger than its text.
            ValueError: a text has characters that UTF-8 cannot encode.
            RecursionError: it is nested too deeply, or an anchor contains itself.
        """
        node = super().compose_document()
        if _size(node, {}) > MAX_ALIASED + 2 * (node.end_mark.index - node.start_mark.index):
            raise yaml.YAMLError("document contains excessive aliasing")
        return node


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return the size of a node with each alias replaced by its content; remember it by the id of the node."""
    known = sizes.setdefault(id(node), 0)
    if known:
        return known
    if isinstance(node, yaml.ScalarNode):
        node.value.encode()
        size = 1 + len(node.value) // 64
    else:
        children = node.value if isinstance(node, yaml.SequenceNode) else itertools.chain(*node.value)
        size = 1 + sum(_size(child, sizes) for child in children)
    sizes[id(node)] = size
    return size


_PLAIN = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag not in _PLAIN]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
