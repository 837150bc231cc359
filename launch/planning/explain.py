"""Hydra's errors as usage errors: what was wrong, and the nearest name that would have been valid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from trident.config.hints import WRONG_TYPE, hint

from ..core.options import LocalOptions, SlurmOptions, option_keys
from ..errors import UsageError
from .hydra_session import Session

__all__ = ["explained"]


@contextmanager
def explained(hydra: Session, name: str | None, overrides: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra raises inside the block into a UsageError, which suggests the nearest valid names.

    Args:
        name: the primary config that is composed, if any; its keys are suggested.
        overrides: those of the command line; the options that they choose have keys of their own.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        text = _text(error)
        if (wrong := _wrong_option(text)) is not None:
            raise UsageError(wrong) from error
        nearest = hint(text, hydra.loader, partial(_composed, hydra, name), overrides)
        raise UsageError(text + nearest) from error
    except ValueError as error:  # a value that Hydra's grammar parses, and that it cannot use
        raise UsageError(str(error)) from error


def _composed(hydra: Session, name: str | None, choices: Sequence[str]) -> DictConfig:
    return hydra.compose(name, [*choices, "hydra/launcher=trident_local"])


def _wrong_option(text: str) -> str | None:
    """A message about an option of the launcher that has a value of another type, or that only SLURM has."""
    name = _named(r"full_key: hydra\.launcher\.(\w+)", text)
    of_slurm = option_keys(SlurmOptions)
    if name in of_slurm and re.search("Key '.*' not in '", text):
        return f"hydra.launcher.{name}: this launcher has no such option\nhint: hydra/launcher=trident_slurm has it"
    key = (option_keys(LocalOptions) | of_slurm).get(name)
    if key is None or key.accepts is None or not re.search(WRONG_TYPE, text):
        return None
    override, file = _named("Error merging override (.+)$", text), _named("^In '(.+?)'", text)
    value = _named("^Value '(.*?)' (?:of type|is)", text) or override.partition("=")[2]
    where = f" (the override {override})" if override else f" ({file}.yaml)" if file else ""
    unit = f", in {key.unit}" if key.unit else ""
    return f"{key.path}: {value!r} is not {key.accepts.text()}{unit}{where}\nhint: {key.about}"


def _named(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""


_NOISE = ("object_type=", "reference_type=", "Set the environment variable HYDRA_FULL_ERROR")
"""How lines of Hydra's messages begin that say nothing about the mistake."""


def _text(error: BaseException) -> str:
    """The message, and that of the error's cause where it says more; without noise."""
    text, cause = str(error), error.__cause__
    if cause is not None and str(cause) not in text:
        text = f"{text}\n{cause}"
    lines = (line.rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.lstrip().startswith(_NOISE))
