"""What members need: the launcher's options, and the trainer's number of ranks, with each member's own values.

Members that differ only in plain values are composed once. Where an option refers to such a value, as in
``hydra.launcher.nodes: ${run.nodes}``, it is resolved again for each member, in the config that was composed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from ..core.members import key_of, value_of
from ..errors import UsageError, nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["MemberNeeds", "Needs", "NeedsReader", "needs_of", "options_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What members need that have the same resources."""

    options: Mapping[str, Any]
    """The launcher's options, resolved."""
    trainer: Mapping[str, Any]
    """The keys of the trainer's section that decide how many ranks there are, and whether they use GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberNeeds:
    """What each of some members needs."""

    distinct: tuple[Needs, ...]
    of: tuple[int, ...]
    """For each member, the position of its needs in `distinct`."""

    def record(self) -> dict[str, Any]:
        """It as JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> MemberNeeds:
        """The needs that `record` was made of."""
        return cls(
            distinct=tuple(Needs(**needs) for needs in record["distinct"]), of=tuple(record["of"])
        )


def needs_of(needs: Sequence[Needs]) -> MemberNeeds:
    """The needs of members, each different one kept once."""
    positions: dict[str, int] = {}
    distinct: list[Needs] = []
    of: list[int] = []
    for one in needs:
        key = json.dumps([one.options, one.trainer], sort_keys=True, default=str)
        if key not in positions:
            positions[key] = len(distinct)
            distinct.append(one)
        of.append(positions[key])
    return MemberNeeds(distinct=tuple(distinct), of=tuple(of))


_TRAINER = ("devices", "num_nodes", "accelerator")

_OF_ONE_MEMBER = re.compile(r"\$\{\s*hydra\s*[.:]\s*(job\.(num|id|override_dirname)|overrides)\b")
"""References to values that no two members share: the number, the id and the overrides."""


class NeedsReader:
    """Reads the needs of the members that one config was composed for.

    Args:
        config: with its ``hydra`` section; it is not changed.
        plain: for each override of such a member, whether its value may differ from the one in the config.
        with_trainer: whether ``trainer`` is a trainer's section; in another app's config it may be anything.
        resolve: calls a function that resolves values of the config.

    Raises:
        UsageError: an option refers to a value that no two members share.
    """

    def __init__(
        self,
        config: DictConfig,
        plain: Sequence[bool],
        *,
        with_trainer: bool,
        resolve: Callable[[Callable[[], Any]], Any],
    ) -> None:
        from omegaconf import OmegaConf

        self.plain, self.with_trainer, self.resolve = plain, with_trainer, resolve
        self.varying = _interpolated(OmegaConf.to_container(config.hydra.launcher, resolve=False))
        for key, text in self.varying.items():
            if (own := _OF_ONE_MEMBER.search(text)) is not None:
                raise UsageError(
                    f"hydra.launcher.{key}: `{own[0]}…` differs between members, which share the arrays of a sweep\n"
                    "hint: refer to a key of the config, as in `${run.nodes}`"
                )
        varies = bool(self.varying) or (with_trainer and _trainer_varies(config))
        self.config = config.copy() if varies and any(plain) else None
        self.first = self._read(config, {})

    def needs(
        self,
        point: Sequence[str],
        compose: Callable[[Sequence[str]], DictConfig],
    ) -> Needs:
        """What the member with these overrides needs.

        Args:
            compose: the config of a point of its own.
        """
        if self.config is None:
            return self.first
        values = {
            key_of(override).partition("@")[0]: value_of(override.partition("=")[2])
            for override, plain in zip(point, self.plain, strict=True)
            if plain
        }
        if any(isinstance(value, dict) for value in values.values()):
            return self._read(compose(point), {})  # Hydra merges it into what is there
        return self._read(self.config, values)

    def _read(self, config: DictConfig, values: Mapping[str, Any]) -> Needs:
        from omegaconf import OmegaConf, open_dict, read_write

        with read_write(config), open_dict(config):
            for key, value in values.items():
                OmegaConf.update(config, key, value, merge=False, force_add=True)
        launcher = config.hydra.launcher
        if not values:
            options = options_of(launcher)
        else:
            options = {**self.first.options, **{key: _plain(launcher[key]) for key in self.varying}}
        trainer = self.resolve(lambda: _trainer(config)) if self.with_trainer else {}
        return Needs(options=options, trainer=trainer)


def options_of(launcher: DictConfig) -> dict[str, Any]:
    """The options in a launcher's section, resolved.

    Raises:
        UsageError: the launcher has no such option.
    """
    from omegaconf import OmegaConf

    options = {str(key): value for key, value in _plain(launcher).items()}
    schema = OmegaConf.get_type(launcher)
    if schema is not None and is_dataclass(schema):
        known = [field.name for field in fields(schema)]
        if unknown := sorted(options.keys() - known):
            wrong = f"hydra.launcher.{unknown[0]}: the launcher has no such option"
            raise UsageError(wrong + nearest(unknown[0], known))
    return options


def _interpolated(options: Any) -> dict[str, str]:
    """The options that refer to something, each as text."""
    texts = {str(key): json.dumps(value, default=str) for key, value in options.items()}
    return {key: text for key, text in texts.items() if "${" in text}


def _plain(value: Any) -> Any:
    """A value without OmegaConf's types."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _trainer(config: DictConfig) -> dict[str, Any]:
    section = config.get("trainer")
    if not isinstance(section, Mapping):
        return {}
    return {key: _plain(section[key]) for key in _TRAINER if section.get(key) is not None}


def _trainer_varies(config: DictConfig) -> bool:
    from omegaconf import OmegaConf

    raw = OmegaConf.to_container(config, resolve=False)
    section = raw.get("trainer") if isinstance(raw, dict) else None
    kept = {k: section.get(k) for k in _TRAINER} if isinstance(section, dict) else section
    return "${" in json.dumps(kept, default=str)
