"""`trident check`, tab completion and help, as they are typed in a project's folder."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support import environment

TRIDENT = str(Path(sys.executable).parent / "trident")


def typed(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TRIDENT, *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_right_config_is_summed_up_in_a_second_without_torch(project, bare_start):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = typed(project, "check", "experiment=digits", "trainer.max_epochs=1")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "ok: train digits; val digits; test digits; model.Classifier; optim.AdamW; strategy auto\n"
    )
    assert seconds < 45 * bare_start  # two seconds where Python starts in 40 ms
    assert not (project / "logs").exists() and not (project / "outputs").exists()
    code = "import sys; sys.argv=['trident', 'check', 'experiment=digits']\n"
    code += "from trident.run import main; main(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=project, env=environment(), check=True)


def test_all_problems_are_told_with_the_files_that_hold_them(project):
    experiment = project / "configs/experiment/wrong.yaml"
    experiment.write_text(
        "# @package _global_\n"
        "defaults: [digits]\n"
        "run:\n"
        "  optimized_metric: digit/val/acc\n"
        "datamodule:\n"
        "  val:\n"
        "    digits:\n"
        "      evaluation:\n"
        "        metrics:\n"
        "          acc:\n"
        "            compute_onn: epoch_end\n"
    )
    done = typed(project, "check", "experiment=wrong", "+trainer.max_epoch=3")
    assert done.returncode == 2
    assert "unknown key 'compute_onn' (configs/experiment/wrong.yaml:11)" in done.stderr
    assert "has no parameter 'max_epoch' (the override +trainer.max_epoch=3)" in done.stderr
    assert "digit/val/acc: no data set of that name is validated" in done.stderr
    assert "(configs/experiment/wrong.yaml:4)" in done.stderr
    assert done.stderr.count("error: ") == 3
    run = typed(project, "experiment=wrong", "run.optimized_metric=null")
    assert run.returncode == 2
    assert "unknown key 'compute_onn' (configs/experiment/wrong.yaml:11)" in run.stderr


def test_keys_of_what_ships_are_told_by_their_place(project):
    done = typed(project, "check", "experiment=digits", "module.optimizer.lr=???")
    assert done.returncode == 2
    assert "module.optimizer.lr: a value is missing (the override module.optimizer" in done.stderr
    shipped = typed(project, "check", "module=text_classification", "trainer.max_epochs=1")
    assert (
        "module.model.num_labels: a value is missing (trident/configs/module/text_c"
        in shipped.stderr
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("run.ckpt_path=a/b.ckpt", "a/b.ckpt: no such file or directory"),
        (
            "+datamodule.val.more={dataset: {_target_: datasets.load_dataset, path: json, "
            "data_files: data/x.json}, dataloader: {_target_: torch.utils.data.DataLoader}}",
            "data/x.json: no such file",
        ),
        ("module=nothing", "Could not find 'module/nothing'"),
    ],
)
def test_what_is_not_there(override, said, project):
    done = typed(project, "check", "experiment=digits", override)
    assert done.returncode == 2
    assert said in done.stderr


def test_hydras_options_go_with_it(project):
    (project / "configs").rename(project / "other")
    done = typed(project, "check", "--config-path", "other", "experiment=digits")
    assert done.returncode == 0, done.stderr


def test_the_composed_config_is_shown(project):
    done = typed(project, "experiment=digits", "--cfg", "job")
    assert done.returncode == 0
    assert "\nmodule:\n  _target_: trident.TridentModule\n" in done.stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("trident experiment=di", ["experiment=digits"]),
        ("trident trainer=de", ["trainer=debug", "trainer=default"]),
        ("trident module/opt", ["module/optimizer="]),
    ],
)
def test_a_shell_completes_groups_and_options(line, offered, project):
    """bash calls the function that `trident -sc install=bash` defines, with the line typed so far."""
    script = f"""
        eval "$(trident -sc install=bash)"
        function=$(complete -p trident | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
        COMP_LINE='{line}' COMP_POINT={len(line)} COMP_WORDS=({line}) COMP_CWORD=1 COMPREPLY=()
        "$function"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert sorted(done.stdout.split()) == offered, done.stderr
