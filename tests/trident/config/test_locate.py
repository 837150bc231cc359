"""Which file and line, or which override, gave a key of a composed config its value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig

from trident.config.locate import locate

CONFIG = """\
defaults:
  - group: one
  - placed@deep.inside: one
  - _self_
x: 1
both: here
items:
  - name: a
  - {name: b}
"""

Composes = Callable[..., None]


@pytest.fixture
def composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Composes]:
    """Composes the project's config as a run does, with overrides."""
    configs = tmp_path / "configs"
    for group in ("group", "placed"):
        (configs / group).mkdir(parents=True)
    (configs / "config.yaml").write_text(CONFIG)
    (configs / "group" / "one.yaml").write_text("# a comment\nlr: 1\nnested:\n  key: 2\n")
    (configs / "group" / "top.yaml").write_text("# @package _global_\nboth: there\nlate: 1\n")
    (configs / "placed" / "one.yaml").write_text("value: 3\n")
    monkeypatch.chdir(tmp_path)
    before = HydraConfig.instance().cfg
    with ExitStack() as stack:

        def call(*overrides: str) -> None:
            stack.enter_context(hydra.initialize_config_dir(str(configs), version_base="1.3"))
            config = hydra.compose("config", list(overrides), return_hydra_config=True)
            HydraConfig.instance().set_config(config)

        yield call
    HydraConfig.instance().cfg = before


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("x", "configs/config.yaml:5"),
        ("group.lr", "configs/group/one.yaml:2"),
        ("group.nested.key", "configs/group/one.yaml:4"),
        ("group.nested", "configs/group/one.yaml:3"),
        ("deep.inside.value", "configs/placed/one.yaml:1"),
        ("items[1].name", "configs/config.yaml:9"),
        ("items[0]", "configs/config.yaml:8"),
        ("nowhere", None),
        ("x.y", None),
    ],
)
def test_a_key_of_a_file_has_its_line(path: str, place: str | None, composed: Composes) -> None:
    composed()
    assert locate(path) == place


def test_the_last_file_that_is_merged_holds_the_key(composed: Composes) -> None:
    composed("group=top")
    assert locate("both") == "configs/config.yaml:6"  # `_self_` comes last
    assert locate("late") == "configs/group/top.yaml:3"


def test_an_override_holds_its_key_and_all_below(composed: Composes) -> None:
    composed("x=2", "x=3", "+new={a: {b: 1}}", "group.nested.key=5")
    assert locate("x") == "the override x=3"
    assert locate("new.a.b") == "the override +new={a: {b: 1}}"
    assert locate("group.nested.key") == "the override group.nested.key=5"
    assert locate("group.nested") == "configs/group/one.yaml:3"


def test_the_choice_of_a_group_is_no_value(composed: Composes) -> None:
    composed("group=one")
    assert locate("group.lr") == "configs/group/one.yaml:2"


def test_what_ships_is_named_by_its_package(composed: Composes) -> None:
    composed("+trainer=default")
    place = locate("trainer._target_")
    assert place is not None and place.startswith("trident/configs/trainer/default.yaml:")


def test_outside_of_a_run_nothing_is_said() -> None:
    assert not HydraConfig.initialized()
    assert locate("x") is None


def test_a_file_that_is_gone_is_no_error(composed: Composes, tmp_path: Path) -> None:
    composed()
    (tmp_path / "configs" / "group" / "one.yaml").unlink()
    assert locate("group.lr") is None
