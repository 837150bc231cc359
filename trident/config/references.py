"""What a config refers to, and that would be missing: files that it reads, and metrics that it waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trident.config.schema import OURS, SPLITS, Problem, find_problems

__all__ = ["SPECIAL_CHECKPOINTS", "find_all_problems"]

SPECIAL_CHECKPOINTS = ("last", "best", "hpc")
"""Values of Lightning's `ckpt_path` that are not paths."""

BUILDERS = ("csv", "json", "parquet", "text")
"""Builders of `datasets.load_dataset` that read `data_files`."""
READERS = {
    "load_from_disk": "dataset_path",
    **dict.fromkeys(("from_csv", "from_json", "from_parquet", "from_text"), "path_or_paths"),
}
"""Other functions of `datasets` that read files, and the argument that names these."""


def find_all_problems(cfg: DictConfig, directory: Path) -> list[Problem]:
    """The problems of a composed config, including references to files and metrics that are not there.

    Args:
        directory: where the run starts.
    """
    return [*find_problems(cfg), *_files(cfg, directory), *_metrics(cfg)]


def _files(cfg: DictConfig, directory: Path) -> Iterator[Problem]:
    """Problems with files that the config names and that do not exist."""
    checkpoint = _resolved(cfg, "run.ckpt_path")
    if checkpoint not in SPECIAL_CHECKPOINTS:
        yield from _missing("run.ckpt_path", checkpoint, directory, directory)
    for split in SPLITS:
        for name in _names(cfg, f"datamodule.{split}"):
            place = f"datamodule.{split}.{name}.dataset"
            node = _resolved(cfg, place)
            if isinstance(node, Mapping) and (key := _key_of_files(node)) is not None:
                folder = directory / str(node.get("data_dir") or "")
                for file in _each(node.get(key)):
                    yield from _missing(f"{place}.{key}", file, folder, directory)


def _names(cfg: DictConfig, place: str) -> list[str]:
    """The keys of a mapping of the config; empty where there is none."""
    with suppress(OmegaConfBaseException):
        node = OmegaConf.select(cfg, place)
        return list(map(str, node)) if isinstance(node, DictConfig) else []
    return []


def _resolved(cfg: DictConfig, place: str) -> Any:
    """A value of the config; None where it cannot be resolved here."""
    with suppress(OmegaConfBaseException):
        node = OmegaConf.select(cfg, place)
        return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    return None


def _key_of_files(dataset: Mapping[str, Any]) -> str | None:
    """The argument that names the files that a data set reads."""
    if dataset.get("path") in BUILDERS:
        return "data_files"
    package, _, function = str(dataset.get("_target_")).rpartition(".")
    return READERS.get(function) if package.partition(".")[0] == "datasets" else None


def _each(files: Any) -> Iterator[Any]:
    """The files of one value, a list, or a mapping of these."""
    if isinstance(files, Mapping | list):
        for item in files.values() if isinstance(files, Mapping) else files:
            yield from _each(item)
    else:
        yield files


def _missing(place: str, file: Any, folder: Path, directory: Path) -> Iterator[Problem]:
    """A problem with a local file that does not exist; patterns and URLs are not checked.

    Nor is a path that cannot be looked up here, as in a folder that only the run may read.
    """
    if not isinstance(file, str) or "://" in file or any(sign in file for sign in "*?["):
        return
    path, exists = folder / file, True
    with suppress(OSError):
        exists = path.exists()
    if not exists:
        where = "" if Path(file).is_absolute() else f" in {directory}"
        yield Problem(place, f"{file}: no such file or directory{where}", missing=path)


def _metrics(cfg: DictConfig) -> Iterator[Problem]:
    """Problems with metrics of data sets that are not validated; the names of a data set's own are not checked."""
    validated = [f"{dataset}/val/" for dataset in _names(cfg, "datamodule.val")]
    if not validated and _resolved(cfg, "datamodule._target_") not in OURS:
        return
    begin = f"metrics of validation begin with {' or '.join(validated)}" if validated else ""
    hint = begin or "no data set is validated: datamodule.val is empty"
    for place, name in _awaited(cfg):
        split = name.split("/")[1] if name.count("/") >= 2 else ""
        if split == "val" and not name.startswith(tuple(validated)):
            yield Problem(place, f"{name}: no data set of that name is validated", hint)


def _awaited(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    """The metrics that a run waits for, each with the first key that names it."""
    callbacks = [f"callbacks.{name}.monitor" for name in _names(cfg, "callbacks")]
    awaited: dict[str, str] = {}
    for place in ("run.optimized_metric", *callbacks, "module.scheduler.monitor"):
        if isinstance(name := _resolved(cfg, place), str):
            awaited.setdefault(name, place)
    yield from ((place, name) for name, place in awaited.items())
