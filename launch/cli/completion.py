"""Shell completion of sweeps, settings and config groups' options, by listing directories. Hydra is not loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    shell_complete,
)

from trident.config.annotations import Accepted
from trident.config.keys import KEYS
from trident.config.signatures import Parameters, TargetNotFound, parameters

__all__ = ["complete", "overrides", "sweep_names"]


def complete(command: click.Command, program: str, variable: str, request: str) -> int:
    """Answer a shell: its completion script, or the completions of a partial line."""
    add_completion_class(SplitWords)
    # OSError: a directory that cannot be read has no completions. The others: a request that no shell makes.
    with suppress(OSError, KeyError, ValueError):
        return shell_complete(command, {}, program, variable, request)
    return 1


def sweep_names(root: Path, begun: str) -> list[str]:
    """The names of the sweeps in a directory that begin like this."""
    from ..sweepdir.sweep import SweepDir

    paths = sorted(root.iterdir()) if root.is_dir() else []
    names = [path.name for path in paths if SweepDir(path).exists()]
    return [name for name in names if name.startswith(begun) and not name.startswith(".")]


def overrides(options: Mapping[str, Any], directory: Path, begun: str) -> list[str]:
    """``experiment=di`` -> ``experiment=digits``, ``run.se`` -> ``run.seed=``; also the last one of several values.

    Args:
        options: the options of `submit`, which say where configs are.
        directory: the working directory.
        begun: the part of an override that is typed so far.
    """
    override, equals, value = begun.partition("=")
    key = override.lstrip("+").partition("@")[0]
    if not equals:
        sign = override.removesuffix(key)
        return [f"{sign}{name}=" for name in sorted(_settings(key)) if key and name.startswith(key)]
    earlier, comma, last = value.rpartition(",")
    names = {*_registered(key)}
    for configs in _config_directories(options, directory):
        names |= {path.stem for path in (configs / key).glob("*.yaml")}
    setting = _settings(key).get(key)
    words = [*sorted(names), *(setting.choices() if setting else ())]
    return [f"{override}={earlier}{comma}{word}" for word in words if word.startswith(last)]


def _settings(begun: str) -> dict[str, Accepted | None]:
    """The keys of configs that may begin like this, each with what it accepts; mappings are left out."""
    return {
        path: accepts
        for path, accepts in _accepted(begun)
        if not (accepts and "dict" in accepts.kinds)
    }


def _accepted(begun: str) -> Iterator[tuple[str, Accepted | None]]:
    """The keys that may begin like this, each with what it accepts."""
    if begun.startswith("hydra"):
        from ..core.options import LocalOptions, SlurmOptions, option_keys

        options = {**option_keys(LocalOptions), **option_keys(SlurmOptions)}
        yield from ((key.path, key.accepts) for key in options.values())
    elif begun.startswith("trainer."):
        yield from ((f"trainer.{name}", accepts) for name, accepts in _of_trainer().items())
    else:
        own = (key for key in KEYS if not {"SPLIT", "NAME"} & {*key.path.split(".")})
        yield from ((key.path, key.accepts) for key in own)


def _of_trainer() -> Parameters:
    with suppress(TargetNotFound):
        return parameters("lightning.pytorch.Trainer") or {}
    return {}


def _config_directories(options: Mapping[str, Any], directory: Path) -> Iterator[Path]:
    yield directory / (options.get("config_path") or "configs")
    if options.get("config_dir"):
        yield directory / options["config_dir"]
    shipped = find_spec("trident.configs")
    yield from map(Path, (shipped and shipped.submodule_search_locations) or ())


class SplitWords(BashComplete):
    """bash, which splits ``experiment=di`` into three words, and completes only the last one of them."""

    name = "bash"
    # The value follows the `=` of a key without a space.
    source_template = BashComplete.source_template.replace(
        "return 0", "[[ $COMPREPLY == *= ]] && compopt -o nospace 2> /dev/null; return 0", 1
    )
    _prefix = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor, and the one at it, joined where bash has split them at `=`."""
        words, last = super().get_completion_args()
        joined: list[str] = []
        for word in [*words, last]:
            is_value = bool(joined) and joined[-1].endswith("=")
            if joined and (word == "=" or (is_value and self._prefix)):
                joined[-1] += word
            else:
                joined.append(word)
            self._prefix = joined[-1] if word == "=" else self._prefix if is_value else ""
        return joined[:-1], joined[-1]

    def format_completion(self, item: CompletionItem) -> str:
        """Leave out what bash treats as earlier words."""
        item.value = item.value.removeprefix(self._prefix)
        return super().format_completion(item)


def _registered(group: str) -> list[str]:
    """Group options that plugins register with Hydra, and that are in no file."""
    if group != "hydra/launcher":
        return []
    from ..schedulers.base import known

    return known()
