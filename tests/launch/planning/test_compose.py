"""What a command line means: points, the launcher with its options, and what is refused. Nothing runs, no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from trident.launch.errors import UsageError
from trident.launch.planning.compose import Composed, compose, launcher_options

Composes = Callable[..., Composed]

CONFIG = """
x: 1
nested: {value: 1}
trainer: {devices: 1}
defaults: [{group: first}, _self_]
"""


@pytest.fixture
def composed(tmp_path: Path) -> Composes:
    """`compose` over a small project of its own."""
    group = tmp_path / "configs" / "group"
    group.mkdir(parents=True)
    (tmp_path / "configs" / "config.yaml").write_text(CONFIG)
    (group / "first.yaml").write_text("# @package _global_\nname: first\n")
    (group / "second.yaml").write_text("# @package _global_\ntrainer: {accelerator: gpu}\n")

    def call(*overrides: str, name: str = "config") -> Composed:
        return compose(
            overrides,
            path=str(tmp_path / "configs"),
            name=name,
            config_dir=None,
            directory=tmp_path,
            default="trident_local",
        )

    return call


def refused(composed: Composes, *overrides: str) -> str:
    with pytest.raises(UsageError) as error:
        composed(*overrides)
    return str(error.value)


def options(composed: Composed) -> Mapping[str, Any]:
    """The launcher's options, which are the same for all members."""
    (needs,) = composed.needs.distinct
    return needs.options


def trainers(composed: Composed) -> list[Mapping[str, Any]]:
    return [needs.trainer for needs in composed.needs.distinct]


def test_points_come_in_hydras_order(composed: Composes) -> None:
    assert composed("x=1,2", "nested.value=choice(a,b)").points == [
        ("x=1", "nested.value=a"),
        ("x=1", "nested.value=b"),
        ("x=2", "nested.value=a"),
        ("x=2", "nested.value=b"),
    ]
    assert composed().points == [()]
    assert composed("group=glob(*)").points == [("group=first",), ("group=second",)]


def test_the_launcher_is_the_default_unless_one_is_chosen(composed: Composes) -> None:
    by_default = composed("hydra.launcher.array_parallelism=3")
    assert by_default.launcher == "trident_local"
    assert options(by_default)["array_parallelism"] == 3
    chosen = composed("hydra/launcher=trident_slurm", "hydra.launcher.partition=big")
    assert (chosen.launcher, options(chosen)["partition"]) == ("trident_slurm", "big")
    assert chosen.points == [()]


def test_the_configs_may_choose_the_launcher(composed: Composes, tmp_path: Path) -> None:
    (tmp_path / "configs" / "mine.yaml").write_text(
        "defaults: [config, {override /hydra/launcher: trident_slurm}]\n"
    )
    assert composed(name="mine").launcher == "trident_slurm"


def test_a_launchers_options_can_be_asked_for_without_a_task(tmp_path: Path) -> None:
    def options(*overrides: str) -> dict[str, object]:
        return launcher_options(
            overrides,
            launcher="trident_slurm",
            path="pkg://trident.configs",
            name="config",
            config_dir=None,
            directory=tmp_path,
        )

    assert options("hydra.launcher.nodes=2")["nodes"] == 2
    with pytest.raises(UsageError, match="nodez") as error:
        options("hydra.launcher.nodez=2")
    assert "hint: did you mean `hydra.launcher.nodes`" in str(error.value)


def test_members_that_differ_in_plain_values_are_composed_once(composed: Composes) -> None:
    assert len(composed("x=range(0,500)").planned) == 1
    assert trainers(composed("trainer.devices=1,2")) == [{"devices": 1}, {"devices": 2}]
    assert trainers(composed("group=first,second")) == [
        {"devices": 1},
        {"accelerator": "gpu", "devices": 1},
    ]
    assert len(composed("+y=1,${x}").planned) == 2
    assert len(composed("~nested.value", "x=1,2").planned) == 1


def test_groups_on_the_search_path_count_as_groups(composed: Composes, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "machine"
    elsewhere.mkdir(parents=True)
    for devices in (4, 8):
        text = f"# @package _global_\ntrainer: {{devices: {devices}}}\n"
        (elsewhere / f"of_{devices}.yaml").write_text(text)
    searched = f"hydra.searchpath=['file://{tmp_path}/elsewhere']"
    both = trainers(composed(searched, "+machine=of_4,of_8"))
    assert [trainer["devices"] for trainer in both] == [4, 8]
    (tmp_path / "configs" / "own.yaml").write_text(
        "defaults: [config, _self_]\n"
        f"hydra: {{searchpath: ['file://{tmp_path}/elsewhere']}}\ntrainer: {{devices: 1}}\n"
    )
    assert len(composed("+machine=of_4,of_8", name="own").planned) == 2


def test_the_configs_may_hold_what_is_swept(composed: Composes, tmp_path: Path) -> None:
    (tmp_path / "configs" / "swept.yaml").write_text(
        "defaults: [config, _self_]\nhydra: {sweeper: {params: {x: '4,5'}}}\n"
    )
    assert composed("nested.value=2", name="swept").points == [
        ("x=4", "nested.value=2"),
        ("x=5", "nested.value=2"),
    ]


def test_variables_of_a_task_count_as_set_for_as_long_as_it_is_checked(composed: Composes) -> None:
    before = dict(os.environ)
    composed("+r=${oc.env:RANK}", "+s=${oc.env:SLURM_JOB_ID}")
    assert "'NOT_SET' not found" in refused(composed, "+r=${oc.env:RANK}", "+n=${oc.env:NOT_SET}")
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "hydra.launcher.nodes=1,2",
            "hydra.launcher.nodes=1,2: the launcher and its options cannot be swept\nhint: sweep over a key of "
            "the config that the option follows: `+run.nodes=1,2 'hydra.launcher.nodes=${run.nodes}'`",
        ),
        (
            "hydra/launcher=trident_local,trident_slurm",
            "cannot be swept\nhint: submit a sweep for each",
        ),
        ("hydra.run.dir=here", "hydra.run.dir=here: cannot be set in a sweep\nhint: "),
        (
            "hydra.job.num=1",
            "hydra.job.num=1: cannot be set in a sweep\nhint: members are numbered",
        ),
        ("x=range(2,2)", "an empty sweep: 'x' has no values\nhint: "),
        ("x=interval(0,1)", "has no finite list of values\nhint: "),
        ("x=[1", "[1"),
        ("x=???", "x: no value (`???`)\nhint: give one: `x=…`"),
        ("group=secnd", "hint: did you mean `second`?"),
        ("nestd.value=1", "hint: did you mean `nested.value`?"),
        ("+y=${nested.valu}", "hint: did you mean `nested.value`?"),
        ("hydra/launcher=trident_slrm", "hint: did you mean `trident_slurm` or"),
        ("+callbacs=1", "unknown key 'callbacs'"),
    ],
)
def test_what_would_keep_a_member_from_starting_is_refused(
    override: str, message: str, composed: Composes
) -> None:
    assert message in refused(composed, override)


def test_a_wrong_key_is_named_with_its_place(composed: Composes) -> None:
    assert "unknown key 'callbacs' (the override +callbacs=1)" in refused(composed, "+callbacs=1")


def test_a_sweeper_that_waits_for_results_is_refused(composed: Composes) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    told = refused(composed, "hydra/sweeper=optuna")
    assert "hydra/sweeper=optuna chooses points from results" in told
    assert "hint: `python -m trident.run -m hydra/sweeper=optuna" in told


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["+run.seed=1,2,abc"],
            "run.seed: 'abc' is not a whole number or null (the override +run.seed=abc)",
        ),
        (["trainer.devices=1,two"], "trainer.devices: 'two' is not a number"),
        (["+callbacks.a={_target_: builtins.list},b"], "callbacks.a: has no `_target_`"),
        (
            ["+logger.a._target_=json.loads,json.lods"],
            "_target_: json.lods: json has no 'lods' (the override",
        ),
        (["group=first,second", "+run.seed=1,{a: 1}"], "run.seed: {'a': 1} is not a whole number"),
    ],
)
def test_every_value_is_checked(composed: Composes, overrides: list[str], message: str) -> None:
    assert message in refused(composed, *overrides)


def test_files_that_are_not_here_are_listed(composed: Composes, tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").touch()
    planned = composed("+run.ckpt_path=a.ckpt,b.ckpt,/there/c.ckpt")
    assert list(planned.missing) == [tmp_path / "b.ckpt", Path("/there/c.ckpt")]
    text = planned.missing[tmp_path / "b.ckpt"]
    assert text.startswith("run.ckpt_path: b.ckpt: no such file or directory in ")
    assert text.endswith("(the override +run.ckpt_path=b.ckpt)")
    assert composed("x=1").missing == {}


def test_values_that_are_right_are_all_planned(composed: Composes) -> None:
    assert len(composed("+run.seed=1,2", "x=1,0.5,a,'b c',null,{a: 1},[1]").points) == 14


def test_choices_bring_their_own_sweeps_in_any_order(composed: Composes, tmp_path: Path) -> None:
    swept = "# @package _global_\nhydra: {sweeper: {params: {nested.value: '7,8'}}}\n"
    (tmp_path / "configs" / "group" / "swept.yaml").write_text(swept)
    own = [("nested.value=7", "group=swept"), ("nested.value=8", "group=swept")]
    assert composed("group=first,swept").points == [("group=first",), *own]
    assert composed("group=swept,first").points == [*own, ("group=first",)]
    assert composed("nested.value=9", "group=swept").points == [("nested.value=9", "group=swept")]


def test_members_share_the_launcher_and_the_search_path(
    composed: Composes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    more = tmp_path / "more" / "extra"
    more.mkdir(parents=True)
    (more / "one.yaml").write_text("# @package _global_\none: 1\n")
    plan = composed("+extra=one", "hydra.searchpath=[file://more]", "hydra.launcher.timeout_min=3")
    assert plan.shared == ("hydra/launcher=trident_local", "hydra.launcher.timeout_min=3")
    assert plan.searchpath == (f"file://{tmp_path}/more",)
    assert more / "one.yaml" in plan.files and tmp_path / "configs" / "config.yaml" in plan.files
    (record,) = plan.planned
    assert record.config["one"] == 1 and "hydra" not in record.config


def chooses(directory: Path, name: str, launcher: str) -> None:
    """Writes a choice of the group that chooses a launcher."""
    text = f"# @package _global_\ndefaults: [{{override /hydra/launcher: {launcher}}}]\n"
    (directory / "configs" / "group" / f"{name}.yaml").write_text(text)


def preset(directory: Path, name: str, nodes: int) -> None:
    file = directory / "configs" / "hydra" / "launcher" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"defaults: [trident_slurm, _self_]\nnodes: {nodes}\n")


def test_launchers_that_differ_are_refused(composed: Composes, tmp_path: Path) -> None:
    chooses(tmp_path, "here", "trident_local")
    chooses(tmp_path, "remote", "trident_slurm")
    message = refused(composed, "group=here,remote")
    assert (
        "different launchers: trident_local and trident_slurm\nhint: choose one for all" in message
    )
    assert composed("group=here,remote", "hydra/launcher=trident_local").launcher
    assert composed("group=here,first").launcher == "trident_local", "here, it is the default"


def test_a_launcher_that_only_some_members_choose_is_refused(
    composed: Composes, tmp_path: Path
) -> None:
    """Even a preset of the default launcher: what only some choose is not among the overrides that all share."""
    preset(tmp_path, "few", 1)
    chooses(tmp_path, "few", "few")
    message = refused(composed, "group=few,first")
    assert message.startswith(
        "some members choose hydra/launcher=few, and the others choose no launcher\n"
        "hint: choose one for all, `hydra/launcher=few`, or "
    )
    assert composed("group=few,first", "hydra/launcher=few").launcher == "few"


def test_presets_of_one_launcher_may_differ(composed: Composes, tmp_path: Path) -> None:
    for name, nodes in (("few", 1), ("many", 8)):
        preset(tmp_path, name, nodes)
        chooses(tmp_path, name, name)
    both = composed("group=few,many", "hydra.launcher.timeout_min=7")
    assert [needs.options["nodes"] for needs in both.needs.distinct] == [1, 8]
    assert both.shared == ("hydra.launcher.timeout_min=7",)
    assert [record.choices["hydra/launcher"] for record in both.planned] == ["few", "many"]


def test_numbers_to_base_60_are_refused(composed: Composes, tmp_path: Path) -> None:
    (tmp_path / "configs" / "group" / "long.yaml").write_text("limit: 12:00:00\n")
    message = refused(composed, "group=long")
    assert "long.yaml:1: YAML reads 12:00:00 to base 60, as 43200\nhint: " in message


def test_members_may_need_different_resources(composed: Composes, tmp_path: Path) -> None:
    """By what they choose, and by values of their own that an option refers to."""
    small = "# @package _global_\nhydra: {launcher: {nodes: 1, partition: short}}\n"
    big = "# @package _global_\nhydra: {launcher: {nodes: 4, partition: long}}\n"
    (tmp_path / "configs" / "group" / "small.yaml").write_text(small)
    (tmp_path / "configs" / "group" / "big.yaml").write_text(big)
    slurm = "hydra/launcher=trident_slurm"
    chosen = composed("x=1,2", "group=small,big", slurm)
    assert chosen.needs.of == (0, 1, 0, 1) and len(chosen.planned) == 2
    assert [(n.options["nodes"], n.options["partition"]) for n in chosen.needs.distinct] == [
        (1, "short"),
        (4, "long"),
    ]
    follows = ("+run.nodes=1,2,1", "hydra.launcher.nodes=${run.nodes}", slurm)
    following = composed("x=range(0,100)", *follows)
    assert following.needs.of == (0, 1, 0) * 100 and len(following.planned) == 1
    assert [needs.options["nodes"] for needs in following.needs.distinct] == [1, 2]
    assert "hydra.launcher.nodes=${run.nodes}" in following.shared


def test_ranks_may_follow_a_members_own_value(composed: Composes, tmp_path: Path) -> None:
    (tmp_path / "configs" / "sized.yaml").write_text(
        "defaults: [config, _self_]\nrun: {size: 1}\ntrainer: {devices: '${run.size}'}\n"
    )
    sizes = trainers(composed("run.size=1,2", name="sized"))
    assert sizes == [{"devices": 1}, {"devices": 2}]
    whole = trainers(composed("run={size: 1},{size: 2}", name="sized"))
    assert whole == [{"devices": 1}, {"devices": 2}]
