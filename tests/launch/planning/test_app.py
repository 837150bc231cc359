"""The program that a member is: its command line, and how an app that is not trident is asked for its points."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from trident.launch.core.members import Member
from trident.launch.errors import LaunchError, UsageError
from trident.launch.planning.app import (
    App,
    absolute,
    engine_app,
    external_app,
    plan_again,
    plan_external,
    write_plan,
)
from trident.launch.planning.needs import MemberNeeds

PLANNING_APP = """
import json, os, sys
json.dump({"points": [["x=1"], ["x=2"]], "argv": sys.argv[1:]}, open(os.environ["TRIDENT_PLAN_FILE"], "w"))
json.dump([sys.argv[1:], json.loads(os.environ["TRIDENT_PLAN_REQUEST"])], open("asked.json", "w"))
"""


def an_app(directory: Path, leaves_result: bool = False) -> App:
    return App(
        command=("python", str(directory / "train.py"), f"--config-path={directory}/configs"),
        directory=str(directory),
        source=str(directory),
        leaves_result=leaves_result,
    )


def test_paths_are_absolute_and_packages_stay(tmp_path: Path) -> None:
    assert absolute("conf", tmp_path) == str(tmp_path.resolve() / "conf")
    assert absolute("/elsewhere/conf", tmp_path) == "/elsewhere/conf"
    assert absolute("pkg://my.conf", tmp_path) == "pkg://my.conf"


def test_the_engine_gets_every_config_option_with_absolute_paths(tmp_path: Path) -> None:
    app = engine_app(config_path="conf", config_name="top", config_dir="extra", directory=tmp_path)
    root = tmp_path.resolve()
    options = (f"--config-path={root}/conf", "--config-name=top", f"--config-dir={root}/extra")
    assert app.command == (sys.executable, "-P", "-m", "trident.run", *options)
    assert app.leaves_result and app.directory == app.source == str(tmp_path)


def test_a_projects_own_configs_come_before_those_that_ship(tmp_path: Path) -> None:
    def options() -> tuple[str, ...]:
        app = engine_app(config_path=None, config_name=None, config_dir=None, directory=tmp_path)
        return app.command[4:]

    assert options() == ("--config-path=pkg://trident.configs", "--config-name=config")
    (tmp_path / "configs").mkdir()
    assert options()[0] == f"--config-path={tmp_path.resolve()}/configs"


def test_words_of_another_app_that_are_files_are_absolute(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    assert external_app("python train.py 'a b'", tmp_path).command == (
        sys.executable,
        str(tmp_path / "train.py"),
        "a b",
    )
    assert external_app("/opt/bin/python -m pkg", tmp_path).command[0] == "/opt/bin/python"
    long = "x" * 300  # too long for the name of a file
    app = external_app(f"python train.py --text={long} {long} /{long}", tmp_path)
    assert app.command[2:] == app.frozen(tmp_path / "code").command[2:]
    assert app.command[2:] == (f"--text={long}", long, f"/{long}")
    with pytest.raises(UsageError, match=r"--app names no command\nhint: --app 'python train.py'"):
        external_app("  ", tmp_path)


def test_an_app_survives_its_record(tmp_path: Path) -> None:
    app = an_app(tmp_path)
    assert App.from_record(json.loads(json.dumps(app.record()))) == app


def test_a_members_command_is_a_single_run_in_its_own_directory(tmp_path: Path) -> None:
    member = Member(index=7, overrides=("x=1", "y='a b'"))
    command = an_app(tmp_path).member_command(member, Path("/runs/it's/0007"), sweep_id="abc")
    assert command[3:] == (
        "x=1",
        "y='a b'",
        r"hydra.run.dir='/runs/it\'s/0007'",
        "hydra.job.num=7",
        "hydra.job.id='abc_7'",
        "hydra.mode=RUN",
    )


def test_one_rank_of_another_app_writes_its_files(tmp_path: Path) -> None:
    member = Member(index=0, overrides=())
    for leaves_result, quiet in ((False, True), (True, False)):
        command = an_app(tmp_path, leaves_result).member_command(
            member, tmp_path, sweep_id="abc", main_process=False
        )
        assert ("hydra.output_subdir=null" in command) is quiet


def test_a_frozen_app_runs_from_the_copy_what_lies_there(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "train.py").touch()
    app = an_app(tmp_path / "project")
    frozen = app.frozen(code)
    configs = f"--config-path={tmp_path}/project/configs"  # in no copy
    assert frozen.command == ("python", str(code / "train.py"), configs)
    assert (frozen.source, frozen.directory) == (str(code), app.directory)
    (code / "configs").mkdir()
    assert app.frozen(code).command[2] == f"--config-path={code}/configs"


def test_an_app_runs_under_another_python_unless_it_is_another_program(tmp_path: Path) -> None:
    for app in (
        an_app(tmp_path),
        external_app("/their/python3.12 a.py", tmp_path),
        engine_app(config_path=None, config_name=None, config_dir=None, directory=tmp_path),
    ):
        moved = app.with_python("/gone/python")
        assert moved.command == ("/gone/python", *app.command[1:])
        assert app.with_python(None) == app
    other = external_app("uv run a.py", tmp_path)
    assert other.with_python("python") == other


def test_another_app_is_asked_for_its_points(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(PLANNING_APP)
    app = external_app("python train.py", tmp_path)
    words = ["x=1,2", "hydra.verbose=true"]
    launcher = ["hydra/launcher=trident_local", "+hydra.sweeper.params.y=1"]
    assert plan_external(app, words, launcher, "trident_slurm")["points"] == [["x=1"], ["x=2"]]
    argv, wanted = json.loads((tmp_path / "asked.json").read_text())
    assert argv[:3] == ["-m", "hydra/launcher=trident_plan", "hydra/sweeper=trident_plan"]
    assert argv[5:-1] == words
    assert wanted == {
        "for_launcher": launcher,
        "overrides": words,
        "default": "trident_slurm",
        "command": "python train.py",
        "points": None,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit('no such key')", "no such key\nhint: try one point of it without"),
        ("", "ended without planning\nhint: check that it is a Hydra app"),
    ],
)
def test_an_app_that_cannot_plan_is_an_error(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(text)
    with pytest.raises(UsageError) as error:
        plan_external(external_app("python train.py", tmp_path), [], [], "trident_local")
    assert message in str(error.value)


def test_the_planning_sweeper_is_for_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIDENT_PLAN_FILE", raising=False)
    with pytest.raises(LaunchError, match="runs nothing: it is for `trident-sweep submit --app`"):
        write_plan(None, None)


HYDRA_APP = """
import hydra
@hydra.main(config_path="conf", config_name="top", version_base="1.3")
def main(cfg):
    raise SystemExit("it runs")
main()
"""


@pytest.fixture
def hydra_app(tmp_path: Path) -> App:
    """An app with sweeps in its configs, a preset that chooses the launcher, and a folder on its search path."""
    (tmp_path / "train.py").write_text(HYDRA_APP)
    for name, text in {
        "conf/top.yaml": "hydra: {searchpath: [file://more]}\nx: 1\nkind: ${x}\n",
        "conf/on/slurm.yaml": "# @package _global_\ndefaults: [{override /hydra/launcher: trident_slurm}]\n"
        "hydra: {launcher: {partition: big}}\n",
        "conf/with/partition.yaml": "# @package _global_\nhydra: {launcher: {timeout_min: 7}}\n",
        "conf/of/seeds.yaml": "# @package _global_\nhydra: {sweeper: {params: {x: '8,9'}}}\n",
        "conf/of/nothing.yaml": "# @package _global_\ny: 1\n",
        "conf/of/trials.yaml": "# @package _global_\ndefaults: [{override /hydra/sweeper: optuna}]\n"
        "hydra: {sweeper: {_target_: no.such.Sweeper, n_trials: 3, sampler: {_target_: no.such.Sampler}}}\n",
        "more/size/big.yaml": "{size: 9}",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return external_app("python train.py", tmp_path)


def test_an_app_plans_with_its_own_configs(hydra_app: App, tmp_path: Path) -> None:
    words = ["x=1,2", "+size=big", "+on=slurm"]
    plan = plan_external(hydra_app, words, ["hydra.launcher.mem_gb=3"], "trident_local")
    assert plan["points"] == [["x=1", "+size=big", "+on=slurm"], ["x=2", "+size=big", "+on=slurm"]]
    assert plan["launcher"] == "trident_slurm", "the launcher that its configs choose"
    (needs,) = MemberNeeds.from_record(plan["needs"]).distinct
    assert (needs.options["partition"], needs.options["mem_gb"], needs.trainer) == ("big", 3, {})
    assert plan["searchpath"] == [f"file://{tmp_path}/more"]
    names = {Path(file).relative_to(tmp_path).as_posix() for file in plan["files"]}
    assert names == {"conf/top.yaml", "conf/on/slurm.yaml", "more/size/big.yaml"}
    records = [json.loads(line) for line in plan["planned"]]
    assert {tuple(record["signature"]) for record in records} == {("x", "+size=big", "+on=slurm")}
    assert records[0]["config"] == {"kind": "${x}", "size": {"size": 9}}


CALLING_APP = HYDRA_APP.replace(
    "import hydra",
    """
import hydra
from hydra.experimental.callback import Callback
class Writes(Callback):
    def on_multirun_start(self, config, **_): open("called.txt", "a").write("start")
    def on_multirun_end(self, config, **_): open("called.txt", "a").write("end")
""",
    1,
)


def test_an_app_that_plans_calls_no_callbacks(hydra_app: App, tmp_path: Path) -> None:
    """Those of its configs, of a group, and of the command line."""
    (tmp_path / "train.py").write_text(CALLING_APP)
    for name in ("top.yaml", "hydra/callbacks/own.yaml"):
        file = tmp_path / "conf" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        of_top = "x: 1\nhydra: {callbacks: {a: {_target_: __main__.Writes}}}\n"
        file.write_text(of_top if name == "top.yaml" else "b: {_target_: __main__.Writes}\n")
    words = ["x=1,2", "hydra/callbacks=own", "+hydra.callbacks.c._target_=__main__.Writes"]
    plan = plan_external(hydra_app, words, [], "trident_local")
    assert plan["points"] == [["x=1", *words[1:]], ["x=2", *words[1:]]]
    assert not (tmp_path / "called.txt").exists()


def test_configs_may_set_options_of_the_launcher_on_the_command_line(hydra_app: App) -> None:
    launcher = ["hydra/launcher=trident_slurm"]
    plan = plan_external(hydra_app, ["+with=partition"], launcher, "trident_local")
    assert plan["needs"]["distinct"][0]["options"]["timeout_min"] == 7
    assert plan["shared"] == ["hydra/launcher=trident_slurm"], "so that members compose it, too"


def test_a_sweep_that_a_choice_brings_counts_for_the_members_that_choose_it(hydra_app: App) -> None:
    plan = plan_external(
        hydra_app, ["+of=seeds,nothing", "hydra.verbose=true"], [], "trident_local"
    )
    assert plan["points"] == [
        ["x=8", "+of=seeds", "hydra.verbose=true"],
        ["x=9", "+of=seeds", "hydra.verbose=true"],
        ["+of=nothing", "hydra.verbose=true"],
    ]


def test_a_sweeper_that_waits_for_results_is_refused_with_what_to_type(hydra_app: App) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    with pytest.raises(UsageError) as error:
        plan_external(
            hydra_app,
            ["+of=trials", "x=choice(1,2)"],
            ["hydra.sweeper.n_trials=5"],
            "trident_local",
        )
    said, hint = str(error.value).split("\nhint: ")
    assert said.startswith("hydra/sweeper=optuna chooses points from results")
    line = "python train.py -m +of=trials 'x=choice(1,2)' hydra.sweeper.n_trials=5 hydra/launcher=trident_local"
    assert hint == f"`{line}` waits for results"


def test_options_of_hydra_reach_an_app(tmp_path: Path) -> None:
    app = external_app(
        "python train.py", tmp_path, config_path="conf", config_name="top", config_dir="more"
    )
    options = ("--config-path=conf", "--config-name=top", f"--config-dir={tmp_path.resolve()}/more")
    assert app.command == (sys.executable, "train.py", *options)


@pytest.mark.parametrize(
    "words",
    [
        "python train.py -m",
        "python -m pkg.train --multirun",
        "python -m pkg -m",
        "./train.py -m",
        "python -W error train.py --cfg job",
        "accelerate launch train.py --multirun",
    ],
)
def test_an_app_that_would_not_train_one_member_is_refused(words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not for a member(.|\n)*hint: leave it out"):
        external_app(words, tmp_path)


def test_a_module_is_not_taken_from_the_working_directory(tmp_path: Path) -> None:
    command = external_app("python -m pkg.train", tmp_path).command
    assert command == (sys.executable, "-P", "-m", "pkg.train")
    assert external_app("accelerate launch -m pkg", tmp_path).command[-2:] == ("-m", "pkg")


def test_paths_with_equals_signs_are_the_copys(tmp_path: Path) -> None:
    project, code = tmp_path / "lr=1" / "project", tmp_path / "code"
    (code / "conf").mkdir(parents=True)
    app = replace(an_app(project), searchpath=(f"file://{project}/conf", "pkg://mine"))
    assert app.frozen(code).source == str(code)
    assert app.frozen(code).searchpath == (f"file://{code}/conf", "pkg://mine")


def test_members_get_what_all_share(tmp_path: Path) -> None:
    app = replace(an_app(tmp_path), shared=("hydra/launcher=x",), searchpath=("file:///a b",))
    command = app.member_command(
        Member(index=0, overrides=("y=1",)), tmp_path, sweep_id="s", compares=True
    )
    assert command[3:6] == ("hydra/launcher=x", "hydra.searchpath=['file:///a b']", "y=1")
    assert command[-1] == "hydra.mode=RUN"
    assert "++hydra.callbacks.trident_planned._target_=" in " ".join(command)


def test_an_app_is_planned_with_the_config_that_an_option_names(
    hydra_app: App, tmp_path: Path
) -> None:
    (tmp_path / "conf" / "other.yaml").write_text("other: 1\n")
    app = external_app("python train.py", tmp_path, config_name="other")
    plan = plan_external(app, ["other=1,2"], [], "trident_local")
    assert plan["points"] == [["other=1"], ["other=2"]]
    assert [Path(file).name for file in plan["files"]] == ["other.yaml"]


def test_members_of_an_app_have_one_launcher(hydra_app: App, tmp_path: Path) -> None:
    (tmp_path / "conf" / "on" / "here.yaml").write_text("# @package _global_\n")
    top = tmp_path / "conf" / "top.yaml"
    for batches in (top.read_text(), top.read_text().replace("max_batch_size: 1", "params: null")):
        top.write_text(batches)
        with pytest.raises(
            UsageError, match="some members choose hydra/launcher=trident_slurm, and"
        ):
            plan_external(hydra_app, ["+on=slurm,here"], [], "trident_local")


def test_members_of_the_engine_are_planned_again_with_the_configs_of_now(tmp_path: Path) -> None:
    """Also those of a sweep that does not record what its members share."""
    (tmp_path / "configs" / "run").mkdir(parents=True)
    (tmp_path / "configs" / "top.yaml").write_text("x: 1\nkind: old\n")
    app = engine_app(config_path=None, config_name="top", config_dir=None, directory=tmp_path)
    kinds = []
    for kind in ("old", "new"):
        (tmp_path / "configs" / "top.yaml").write_text(f"x: 1\nkind: {kind}\n")
        plan = plan_again(app, [["x=1"], ["x=2"]], "trident_local")
        (line,) = plan["planned"]
        kinds.append(json.loads(line)["config"]["kind"])
        assert plan["files"] == [str(tmp_path.resolve() / "configs" / "top.yaml")]
    assert kinds == ["old", "new"]


def test_members_of_an_app_may_need_different_resources(hydra_app: App) -> None:
    words = ["+with=partition", "x=3,4,3"]
    launcher = ["hydra/launcher=trident_slurm", "hydra.launcher.nodes=${x}"]
    planned = plan_external(hydra_app, words, launcher, "trident_local")
    needs = MemberNeeds.from_record(planned["needs"])
    assert [needs.distinct[at].options["nodes"] for at in needs.of] == [3, 4, 3]
    assert len(needs.distinct) == 2


def test_thousands_of_points_are_planned(hydra_app: App) -> None:
    planned = plan_external(hydra_app, ["x=range(3000)"], [], "trident_local")
    assert planned["points"][-1] == ["x=2999"] and len(planned["points"]) == 3000
    assert len(planned["planned"]) == 1


def test_an_option_of_an_apps_launcher_cannot_be_swept(hydra_app: App) -> None:
    swept = ["hydra/launcher=trident_slurm", "hydra.launcher.nodes=1,2"]
    with pytest.raises(UsageError, match=r"nodes=1,2: the launcher and its options cannot be"):
        plan_external(hydra_app, ["x=3"], swept, "trident_local")
