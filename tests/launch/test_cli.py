"""Planning through the command line: what is refused, what is written, what reaches a member. No member runs here."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from trident.launch.cli import main
from trident.launch.cli.layout import Screen
from trident.launch.cli.tables import groups_table, plan_text, rows_table, show
from trident.launch.core.members import check_name, expand, members, name_of, quote
from trident.launch.core.states import State
from trident.launch.errors import UsageError
from trident.launch.operations.submit import SubmitRequest, prepare, write_sweep
from trident.launch.planning.app import App, external_app
from trident.launch.results import Row, group
from trident.launch.sweepdir.record import SweepRecord
from trident.launch.sweepdir.sweep import SweepDir

DIGITS = "experiment=digits"

REFUSED = [
    ("experimnt=digits", "experimnt", "`experiment`"),
    ("experiment=digts", "digts", "`digits`"),
    ("module.optimzer.lr=1", "module.optimzer.lr", "`module.optimizer.lr`"),
    ("module.optimizer.lrr=1", "module.optimizer.lrr", "`module.optimizer.lr`"),
    ("hydra.launcher.task_per_node=2", "task_per_node", "`hydra.launcher.tasks_per_node`"),
    ("hydra/launcher=submitit_local", "submitit_local cannot be detached", "trident_local"),
    ("hydra/launcher=trident_locl", "trident_locl", "`trident_local`"),
    ("run.seed=???", "run.seed", "run.seed="),
    ("+run.x=${run.sed}", "run.sed", "`run.seed`"),
    ("run.seed=range(3,3)", "run.seed", "empty"),
    ("run.seed=1,2,1", "run.seed=1", "a value is in a list twice"),
    ("run.seed=[1,2", "[1,2", "override_grammar"),
    ("run.seed=interval(0,1)", "interval(0,1)", "optuna"),
    ("hydra.launcher.nodes=0", "nodes=0", "1 or more"),
    ("hydra.launcher.tasks_per_node=0", "tasks_per_node=0", "1 or more"),
    ("hydra.launcher.array_parallelism=0", "array_parallelism=0", "`auto`"),
    ("hydra.launcher.nodes=1,2", "nodes=1,2", "the option follows"),
    ("hydra.launcher.submitit_folder=x", "submitit_folder", "sweep's directory"),
    ("hydra.launcher.gpus_per_node=9", "9 GPUs", "gpus_per_node="),
    ("hydra.launcher.tasks_per_node=two", "'two' is not a whole number", "Ranks of a member"),
    ("hydra.launcher.signal_delay_s=5", "signal_delay_s", "trident_slurm has it"),
    ("+hydra.launcher.task_per_node=2", "task_per_node", "`tasks_per_node`"),
    ("trainer.max_epochs=abc", "'abc' is not a whole number or null", "the override"),
    ("trainer.precision=bf16-mix", "'bf16-mix' is not 64 or 32", "`bf16-mixed`"),
    ("run.seed=1,x", "run.seed: 'x' is not a whole number or null", "run.seed=x"),
    ("run.ckpt_path=best.ckpt", "best.ckpt: no such file or directory", "the override"),
    ("run.optimized_metric=digit/val/acc", "digit/val/acc: no data set", "digits/val/"),
    ("print_config=maybe", "'maybe' is not true or false", "print_config=maybe"),
    ("hydra.run.dir=x", "hydra.run.dir", "--name"),
    ("+hydra.launcher.env={MY-VAR: 1}", "'MY-VAR' is not a valid variable name", "no digit first"),
    ("+datamodule.val.digits.preprocessing.methd.x=1", "methd", "`method`"),
    ("+datamodule.val.digits.evaluation.metrix.a=1", "metrix", "`metrics`"),
    ("+datamodule.val.digits.evaluation.metrics.acc.kwargs.p=output.preds", "output", "`outputs`"),
]


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    return project


@pytest.mark.parametrize(
    ("override", "culprit", "hint"), REFUSED, ids=[case[0] for case in REFUSED]
)
def test_bad_input_is_an_error_before_anything_is_written(
    override: str, culprit: str, hint: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", DIGITS, override]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert culprit in told and hint in told
    assert not (here / "logs").exists()


def test_devices_that_contradict_the_launcher_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", DIGITS, "trainer.devices=2", "hydra.launcher.tasks_per_node=4"]) == 2
    told = capsys.readouterr().err
    assert "trainer.devices=2 contradicts hydra.launcher.tasks_per_node=4" in told
    assert main(["submit", DIGITS, "trainer.devices=2", "--dry-run"]) == 0
    assert "1 x 2 ranks" in capsys.readouterr().out


def test_directories_that_are_in_the_way_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = here / "logs" / "sweeps"
    (root / "theirs").mkdir(parents=True)
    (root / "theirs" / "file").touch()
    (root / "file").touch()
    for name in ("theirs", "file", "7", "a/b", "a=b", "a\ntouch pwned #"):
        assert main(["submit", DIGITS, "--name", name]) == 2
        assert repr(name).strip("'") in capsys.readouterr().err
    assert sorted(path.name for path in root.iterdir()) == ["file", "theirs"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a\ntouch pwned #", "a-touch-pwned"),
        ("50% off", "50-off"),
        ("a,b", "a-b"),
        ("a\\b", "a-b"),
        ("a\tb", "a-b"),
        ("\x1b[2J", "2J"),
        ("naïve", "na-ve"),
        ("_a", "a"),
        (".a", "a"),
        ("-", "sweep"),
        ("", "sweep"),
        ("7", "sweep-7"),
        ("a" * 101, "a" * 60),
    ],
)
def test_a_new_name_is_of_plain_characters(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match="expected up to 100 letters") as refused:
        check_name(name)
    assert f"--name {name!r}:" in str(refused.value)
    assert str(refused.value).endswith(f"\nhint: `--name {hint}`")
    check_name(hint)


@pytest.mark.parametrize("experiment", ["a/b c", "_x", "+x+", "é", "-", "a" * 300, "x\ny", "7", ""])
def test_a_generated_name_is_one_that_may_be_given(experiment: str) -> None:
    check_name(name_of([f"experiment={experiment}"], "20260131-174500"))


def test_an_older_sweep_keeps_its_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", DIGITS, "--name", "s", "--dry-run"]) == 0
    older = SweepDir(here / "logs" / "sweeps" / "50% off")
    made, _ = prepare(SubmitRequest([DIGITS], directory=here, name="s"))
    record = SweepRecord(
        id="ab12cd34",
        name=older.name,
        command_line="",
        created=0.0,
        app=made.app.record(),
        launcher=made.launcher_record(),
    )
    older.create(record, made.members)
    assert main(["status", "50% off"]) == 0
    assert "FAILED" in capsys.readouterr().out
    assert main(["submit", DIGITS, "--name", "50% off", "--dry-run"]) == 0


def test_a_directory_with_a_line_break_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = project.rename(project.with_name("a\ntouch pwned #"))
    monkeypatch.chdir(directory)
    assert main(["submit", DIGITS, "--name", "x"]) == 2
    assert "the project's directory is " in capsys.readouterr().err
    assert not (directory / "logs").exists()
    plain = directory.rename(project)
    monkeypatch.chdir(plain)
    with pytest.raises(UsageError, match="the sweep's directory is "):
        prepare(SubmitRequest([DIGITS], directory=plain, name="x"), directory)


def test_a_dry_run_prints_plan_and_script_and_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", DIGITS, "run.seed=1,2", "--name", "x", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert f"0  {DIGITS} run.seed=1\n" in out and "trident.launch.agents.local_array" in out
    assert not (here / "logs").exists()


def test_a_plan_of_many_members_leaves_room_for_the_script(here: Path) -> None:
    request = SubmitRequest([DIGITS, "run.seed=range(200)"], directory=here, name="x")
    plan, sweep = prepare(request)
    lines = plan_text(plan, sweep, Screen(width=80, height=24)).splitlines()
    assert len(lines) == 17 and lines[-1].strip() == "188 more; `… --dry-run | less` shows all"
    assert len(plan_text(plan, sweep).splitlines()) == 204


def dry(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["submit", *words, "--dry-run"]) == 0
    lines = capsys.readouterr().out.partition("\n\n# the script")[0].splitlines()[4:]
    return [line.split(maxsplit=1)[1] for line in lines]


def test_hydras_whole_grammar_makes_members(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dry(capsys, DIGITS, "run.seed=range(1,4)") == [
        f"{DIGITS} run.seed={n}" for n in (1, 2, 3)
    ]
    found = dry(capsys, DIGITS, "+run.x=choice('1',1,'a b')")
    assert found == [f"{DIGITS} +run.x={value}" for value in ("'1'", "1", "'a b'")]
    assert dry(capsys, "experiment=glob(dig*)") == [DIGITS]
    other = here / "configs" / "experiment" / "other.yaml"
    other.write_text(
        "# @package _global_\ndefaults: [digits]\nhydra: {sweeper: {params: {run.seed: '4,5'}}}\n"
    )
    swept = [f"run.seed={seed} experiment=other" for seed in (4, 5)]
    assert dry(capsys, "experiment=digits,other") == [DIGITS, *swept]
    assert dry(capsys, "experiment=other,digits") == [*swept, DIGITS]
    assert dry(capsys, "experiment=other") == [
        "run.seed=4 experiment=other",
        "run.seed=5 experiment=other",
    ]


def test_presets_are_yaml_on_top_of_a_launcher(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", DIGITS, "hydra/launcher=sequential", "--dry-run"]) == 0
    assert "; 1 at once" in capsys.readouterr().out
    mine = here / "configs" / "hydra" / "launcher" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("defaults: [trident_local, _self_]\ntasks_per_node: 3\n")
    chosen = here / "configs" / "experiment" / "chosen.yaml"
    chosen.write_text("# @package _global_\ndefaults: [digits, {override /hydra/launcher: mine}]\n")
    assert main(["submit", "experiment=chosen", "hydra.launcher.nodes=2", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "launcher   trident_local" in out and "2 x 3 ranks" in out


def test_config_path_name_and_dir(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "configs").rename(here / "conf")
    (here / "conf" / "top.yaml").write_text("defaults: [config, _self_]\nmine: 1\n")
    extra = tmp_path / "extra" / "experiment"
    extra.mkdir(parents=True)
    (extra / "more.yaml").write_text("# @package _global_\ndefaults: [digits]\n")
    words = [
        "--config-path",
        "conf",
        "--config-name",
        "top",
        "--config-dir",
        "../extra",
        "experiment=more",
        "mine=2",
    ]
    assert dry(capsys, *words) == ["experiment=more mine=2"]
    assert main(["submit", *words[:2], DIGITS, "mine=2"]) == 2


def test_variables_that_only_a_task_has_are_no_error(here: Path) -> None:
    words = ["+run.r=${oc.env:RANK}", "+run.s=${oc.env:SLURM_JOB_ID}", "+run.n=${hydra:job.num}"]
    assert main(["submit", DIGITS, *words, "--dry-run"]) == 0
    assert main(["submit", DIGITS, "+run.r=${oc.env:NOT_SET_ANYWHERE}", "--dry-run"]) == 2


def test_two_hundred_members_are_planned_quickly_and_without_torch(
    project: Path, bare_start: float
) -> None:
    code = (
        "import sys, time; from trident.launch.cli import main; "
        f"code = main(['submit', '{DIGITS}', 'run.seed=range(1,51)', 'module.optimizer.lr=1e-4,1e-3,1e-2,1e-1', "
        "'--dry-run']); sys.stderr.write(' '.join(sys.modules)); sys.exit(code)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor: the machine may be busy with other tests.
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert "members    200 of 200" in done.stdout
    assert not {"torch", "lightning", "datasets", "transformers"} & set(done.stderr.split())
    assert (
        seconds < 70 * bare_start
    )  # two seconds where Python starts in 30 ms; composing each would take 14


def test_doctor_says_what_is_there(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = {check["check"]: check for check in json.loads(capsys.readouterr().out)}
    assert found["torch"]["ok"] and found["ports"]["ok"]
    assert str(here) in found["sweep directory"]["found"]
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.startswith("ok   python: ")


def test_where_there_is_no_sweep_the_verbs_say_so(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["status"], ["results"], ["logs", "0"], ["cancel"], ["resume"], ["show", "0"]):
        assert main(words) == 2
        assert "hint: `trident-sweep submit" in capsys.readouterr().err
    assert main(["list", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


# -- overrides reach the member unchanged ----------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.text(
    "'\"\\${} =,[]()`;&|\n\tü☃"
)


@given(TEXT)
@example("\\\n")
@example("\\")
@example("a\\'${b}\\")
def test_quoted_text_means_itself(text: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"key={quote(text)}"])
    assert OmegaConf.to_container(OmegaConf.create({"key": override.value()}), resolve=True) == {
        "key": text
    }


@given(st.lists(TEXT, min_size=1, max_size=4, unique=True))
def test_the_values_of_a_sweep_are_read_as_what_they_were(values: list[str]) -> None:
    typed = [
        "key=choice(" + ",".join(map(_quoted, values)) + ")",
        "key=" + ",".join(map(_quoted, values)),
    ]
    parser = OverridesParser.create()
    for line in typed[: 1 if len(values) == 1 else 2]:
        points = expand(parser.parse_overrides([line]))
        again = [parser.parse_override(point[0]).value() for point in points]
        assert again == [parser.parse_override(f"key={_quoted(value)}").value() for value in values]


def _quoted(text: str) -> str:
    return quote(f" {text}")  # never a plain path


@given(st.lists(TEXT, min_size=1, unique=True))
def test_overrides_pass_through_disk_and_argv_unchanged(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        _pass_through(texts, SweepDir(Path(directory)))


def _pass_through(texts: list[str], sweep: SweepDir) -> None:
    sweep.write_members(members([(f"key={quote(text)}",) for text in texts]))
    app = App(command=("app",), directory="/", source="/", leaves_result=True)
    for text, member in zip(texts, sweep.members(), strict=True):
        command = app.member_command(member, sweep.member_dir(member.index), sweep_id="x")
        assert command[:2] == ("app", f"key={quote(text)}")


def test_a_real_process_gets_the_same_words() -> None:
    texts = ["$(x) `y`", "'\"\\", "a\nb", "☃", " ", "a b", "*", "-x", "#", "~", "\\'"]
    child = [
        sys.executable,
        "-c",
        "import json, sys; print(json.dumps(sys.argv[1:]))",
        *map(quote, texts),
    ]
    told = json.loads(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
    assert told == [quote(text) for text in texts]


def test_another_python_is_meant_as_it_is(tmp_path: Path) -> None:
    assert (
        external_app("/opt/other/bin/python t.py", tmp_path).command[0] == "/opt/other/bin/python"
    )
    assert external_app("python t.py", tmp_path).command[0] == sys.executable


def test_members_on_another_machine_are_not_started_beside_themselves(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", DIGITS, "run.seed=1", "--name", "x"]
    made, sweep = prepare(SubmitRequest(words[1:3], directory=here, name="x"))
    write_sweep(made, sweep, "", (None, ""))
    array = sweep.arrays.add([0], made.launcher_record())
    sweep.arrays.record_submission(array, "elsewhere:12:34")
    for again in (words, ["resume", "x"]):
        assert main(again) == 2
        told = capsys.readouterr().err
        assert "launched on elsewhere" in told
        assert "trident-sweep resume x 0" in told
    assert len(sweep.arrays.all()) == 1


def test_brackets_are_shown_as_they_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = Row(index=0, state=State.COMPLETED, cause=None, attempt=0, params={"p": "[/data/a]"})
    show(rows_table([row], []))
    show(groups_table(group([row], []), [], []))
    assert "[/data/a]" in capsys.readouterr().out


def test_a_file_that_may_not_be_written_is_an_error_with_its_name(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "logs/sweeps/x/.lock")

    monkeypatch.setattr("trident.launch.operations.resume.resume", refuse)
    made, sweep = prepare(SubmitRequest([DIGITS], directory=here, name="x"))
    write_sweep(made, sweep, "", (None, ""))
    assert main(["resume", "x"]) == 2
    assert "error: logs/sweeps/x/.lock: Permission denied" in capsys.readouterr().err


def test_a_typo_in_a_file_is_told_with_its_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = here / "configs" / "experiment" / "wrong.yaml"
    wrong.write_text(
        "# @package _global_\ndefaults: [digits]\ntrainer:\n  max_epochs: 1\n  max_stepz: 3\n"
    )
    assert main(["submit", "experiment=wrong", "run.seed=1,2"]) == 2
    told = capsys.readouterr().err
    assert "has no parameter 'max_stepz' (configs/experiment/wrong.yaml:5)" in told
    assert "did you mean `max_steps`?" in told


def test_a_multirun_through_hydra_refuses_what_submit_refuses(project: Path) -> None:
    words = ("-m", "experiment=digits", "hydra/launcher=trident_local", "hydra.sweep.dir=out")
    done = subprocess.run(
        [sys.executable, "-m", "trident.run", *words, "run.seed=1,abc"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: run.seed: 'abc' is not a whole number")
    assert not (project / "out" / "sweep.json").exists()
