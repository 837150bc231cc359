"""Schedulers are found by name."""

from __future__ import annotations

from inspect import getmembers, isfunction, signature
from pathlib import Path

import pytest

from trident.launch.errors import UsageError
from trident.launch.schedulers.base import Scheduler, known, scheduler_of, select
from trident.launch.schedulers.local import LocalScheduler
from trident.launch.schedulers.slurm.scheduler import SlurmScheduler

PLUGIN = "hydra_plugins.trident.launchers"


def test_each_is_one_of_its_class() -> None:
    assert isinstance(select("trident_local"), LocalScheduler)
    assert isinstance(select("trident_slurm"), SlurmScheduler)


METHODS = [name for name, _ in getmembers(Scheduler, isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("scheduler", [LocalScheduler, SlurmScheduler])
@pytest.mark.parametrize("method", METHODS)
def test_each_has_every_method_with_the_same_parameters(scheduler: type, method: str) -> None:
    assert signature(getattr(scheduler, method)) == signature(getattr(Scheduler, method))


def test_an_unknown_name_lists_the_known_ones() -> None:
    message = "no scheduler named 'pbs'; known: trident_local, trident_slurm"
    with pytest.raises(UsageError, match=message):
        select("pbs")


def test_another_package_names_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pbs.py").write_text("class Pbs:\n    place = 'there'\n")
    information = tmp_path / "pbs-1.dist-info"
    information.mkdir()
    (information / "entry_points.txt").write_text("[trident.schedulers]\npbs = pbs:Pbs\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "pbs" in known() and select("pbs").place == "there"


def test_a_launcher_class_names_its_scheduler() -> None:
    assert scheduler_of("preset", f"{PLUGIN}.TridentSlurmLauncher") == "trident_slurm"


@pytest.mark.parametrize("target", [None, "Launcher", "no.such.Launcher", f"{PLUGIN}.DictConfig"])
def test_a_launcher_of_others_is_refused(target: str | None) -> None:
    with pytest.raises(UsageError, match="hydra/launcher=x cannot be detached; trident-sweep"):
        scheduler_of("x", target)
