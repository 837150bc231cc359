"""Where Hydra's ``hydra.sweep.subdir`` puts each member of a multirun."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.members import EARLIER, SWEEP_FOLDERS, Member, key_of
from ..errors import UsageError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

__all__ = ["folder_of", "with_own_folders"]

_OURS = (*SWEEP_FOLDERS, EARLIER)

_KNOWN = re.compile(r"\$\{hydra[.:]job\.(num|override_dirname)\}")
"""What a subdir mostly consists of. Anything else is in the member's own config, which takes 70 ms to compose."""


def folder_of(config: DictConfig, point: Sequence[str], index: int, loader: ConfigLoader) -> str:
    """The folder of a member, relative to ``hydra.sweep.dir``.

    Args:
        config: the app's, with its ``hydra`` section.
        point: the member's overrides.

    Raises:
        UsageError: it is outside of ``hydra.sweep.dir``, or a folder of the sweep itself.
    """
    from omegaconf import OmegaConf

    # Not `config.hydra.sweep.subdir`: it has no value before there is a member.
    text = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[index, call-overload]
    values = {"num": str(index), "override_dirname": _override_dirname(config, point)}
    folder = _KNOWN.sub(lambda match: values[match[1]], str(text))
    if "${" in folder:
        folder = _composed(config, point, index, loader)
    return _checked(folder)


def with_own_folders(earlier: Sequence[Member], new: Sequence[Member]) -> tuple[Member, ...]:
    """The new members, without the folder where another member has it, or one in it, or one around it."""
    taken: set[Path] = set()
    around: set[Path] = set()
    found = []
    for member in (*earlier, *new):
        folder = None if member.folder is None else Path(member.folder)
        if folder is not None:
            if folder in around or taken.intersection((folder, *folder.parents)):
                member = replace(member, folder=None)
            else:
                taken.add(folder)
                around.update(folder.parents)
        found.append(member)
    return tuple(found[len(earlier) :])


def _override_dirname(config: DictConfig, point: Sequence[str]) -> str:
    """Hydra's ``hydra.job.override_dirname``."""
    rule: Any = config.hydra.job.config.override_dirname
    excluded = {*rule.exclude_keys}
    keys = [key_of(override).partition("@")[0] for override in point]
    words = [
        override
        for override, key in zip(point, keys, strict=True)
        if key not in excluded and not key.startswith(("hydra.", "hydra/"))
    ]
    return str(rule.item_sep).join(sorted(words)).replace("=", rule.kv_sep)


def _composed(config: DictConfig, point: Sequence[str], index: int, loader: ConfigLoader) -> str:
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    from .hydra_internals import kept_state

    member = loader.load_sweep_config(config, list(point))
    with open_dict(member):
        member.hydra.job.num = index
        member.hydra.job.id = str(index)
    with kept_state():
        HydraConfig.instance().set_config(member)  # for `${hydra:job.num}`
        return str(member.hydra.sweep.subdir)


def _checked(folder: str) -> str:
    path = os.path.normpath(folder)
    first = path.partition(os.sep)[0]
    if Path(path).is_absolute() or first in ("..", ".", "") or first in _OURS:
        raise UsageError(
            f"hydra.sweep.subdir={folder}: expected a folder within hydra.sweep.dir, and none of the sweep's own: "
            f"{', '.join(_OURS)}\nhint: `hydra.sweep.subdir='${{hydra.job.num}}'`"
        )
    return path
