"""Numbers in YAML files that are not what was meant: YAML 1.1 reads ``12:00:00`` as 43200, to base 60."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

__all__ = ["base_60"]

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def base_60(files: Iterable[Path]) -> Iterator[str]:
    """A message for each number with colons in these YAML files, with its file and line."""
    for file in files:
        for node in _scalars(yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)):
            if ":" in node.value and node.tag in _NUMBERS:
                number = yaml.safe_load(node.value)
                yield (
                    f"{file}:{node.start_mark.line + 1}: YAML reads {node.value} to base 60, as {number}\n"
                    f"hint: write the number, or '{node.value}' in quotes for text; hydra.launcher.timeout_min is in "
                    "minutes"
                )


def _scalars(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(key)
            yield from _scalars(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item)
