"""The program that a member is: its command line, and how an app that is not trident is asked for its points."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from trident.launch.core.members import Member
from trident.launch.errors import LaunchError, UsageError
from trident.launch.planning.app import (
    App,
    absolute,
    engine_app,
    external_app,
    plan_external,
    write_plan,
)

PLANNING_APP = """
import json, os, sys
json.dump({"points": [["x=1"], ["x=2"]], "argv": sys.argv[1:]}, open(os.environ["TRIDENT_PLAN_FILE"], "w"))
json.dump(sys.argv[1:], open("argv.json", "w"))
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


def test_another_app_is_asked_for_its_points(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(PLANNING_APP)
    app = external_app("python train.py", tmp_path)
    words = ["x=1,2", "hydra.verbose=true", "hydra.sweeper.params.y=1"]
    assert plan_external(app, words) == [
        ("x=1", "hydra.verbose=true"),
        ("x=2", "hydra.verbose=true"),
    ]
    argv = json.loads((tmp_path / "argv.json").read_text())
    assert argv[:3] == ["-m", "hydra/launcher=trident_plan", "hydra/sweeper=basic"]
    assert argv[4:] == words


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
        plan_external(external_app("python train.py", tmp_path), [])
    assert message in str(error.value)


def test_the_planning_launcher_adds_batch_to_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LaunchError, match="starts nothing: it is for `trident-sweep submit --app`"):
        write_plan(None, [["x=1"]])
    monkeypatch.setenv("TRIDENT_PLAN_FILE", str(tmp_path / "plan.json"))
    for point in ("x=1", "x=2"):
        (done,) = write_plan(None, [[point]])
        assert done.overrides == [point]
    assert json.loads((tmp_path / "plan.json").read_text())["points"] == [["x=1"], ["x=2"]]
