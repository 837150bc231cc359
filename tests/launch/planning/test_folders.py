"""Where Hydra would put each member, told without composing its config where that is possible."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from trident.launch.core.members import Member
from trident.launch.errors import UsageError
from trident.launch.planning.folders import folder_of, with_own_folders
from trident.launch.planning.hydra_internals import config_loader, kept_state

TOP = "x: 1\nseed: 0\ndb: {name: a}\nlabel: m${hydra:job.num}\n"


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[ConfigLoader]:
    (tmp_path / "top.yaml").write_text(TOP)
    with kept_state(), initialize_config_dir(str(tmp_path), version_base="1.3"):
        yield config_loader()


def config(loader: ConfigLoader, *words: str) -> DictConfig:
    """A multirun's config, as a launcher gets it."""
    return loader.load_configuration("top", [*words], RunMode.MULTIRUN)


@pytest.mark.parametrize(
    ("words", "point", "folder"),
    [
        ([], ["x=2"], "3"),
        (["hydra.sweep.subdir=a_${hydra.job.num}/b"], ["x=2"], "a_3/b"),
        (["hydra.sweep.subdir=${hydra.job.override_dirname}"], ["x=2", "+y=1"], "+y=1,x=2"),
        (
            [
                "hydra.sweep.subdir=${hydra:job.override_dirname}",
                "hydra.job.config.override_dirname.exclude_keys=[seed]",
                "hydra.job.config.override_dirname.kv_sep=_",
                "hydra.job.config.override_dirname.item_sep=+",
            ],
            ["x=2", "seed=7", "db.name=b", "hydra.verbose=true"],
            "db.name_b+x_2",
        ),
        (["hydra.sweep.subdir=${db.name}-${x}"], ["x=2"], "a-2"),
        (["hydra.sweep.subdir=${label}/${hydra.job.id}"], [], "m3/3"),
    ],
)
def test_a_folder_is_what_hydra_makes_of_it(
    words: list[str], point: list[str], folder: str, loader: ConfigLoader
) -> None:
    before = HydraConfig.instance().cfg
    assert folder_of(config(loader, *words), point, 3, loader) == folder
    assert HydraConfig.instance().cfg is before
    assert _of_hydra(config(loader, *words), point, loader) == folder


def _of_hydra(master: DictConfig, point: list[str], loader: ConfigLoader) -> Any:
    """What Hydra's own launchers do."""
    member = loader.load_sweep_config(master, point)
    member.hydra.job.num = 3
    member.hydra.job.id = "3"
    with kept_state():
        HydraConfig.instance().set_config(member)
        return member.hydra.sweep.subdir


@pytest.mark.parametrize("subdir", ["/tmp/x", "../x", "members/0", "arrays", ".", "a/../.."])
def test_a_folder_is_within_the_sweep_and_none_of_its_own(
    subdir: str, loader: ConfigLoader
) -> None:
    with pytest.raises(UsageError, match=r"expected a folder within hydra.sweep.dir"):
        folder_of(config(loader, f"hydra.sweep.subdir={subdir}"), [], 0, loader)


def test_no_two_members_have_one_folder_nor_one_within_anothers() -> None:
    names = ["a/b", "a", "a/b/c", "a/b", "a/c", None, "d", "ab"]
    members = [Member(index=i, overrides=(), folder=name) for i, name in enumerate(names)]
    found = with_own_folders(members[:1], members[1:])
    assert [member.folder for member in found] == [None, None, None, "a/c", None, "d", "ab"]
    assert [member.index for member in found] == [1, 2, 3, 4, 5, 6, 7]
