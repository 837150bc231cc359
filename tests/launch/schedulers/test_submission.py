"""Arrays of a plan: their scripts, and in which order they are submitted."""

from __future__ import annotations

from pathlib import Path

from written import written

from trident.launch.core.resources import resolve
from trident.launch.planning.app import App
from trident.launch.planning.plan import Plan
from trident.launch.schedulers.submission import script_of
from trident.launch.sweepdir.sweep import SweepDir

OPTIONS = {"timeout_min": 60, "signal_delay_s": 120}


def test_all_jobs_of_a_sweep_have_one_name(tmp_path: Path) -> None:
    """Also those that are submitted after its directory was renamed, or by another plan, as an optimizer's next one."""
    sweep = written(tmp_path / "s", [("x=1",)], id="ab12cd34")
    renamed = SweepDir(sweep.path.rename(tmp_path / "t"))
    plan = Plan(
        name="t",
        sweep_id="another",
        app=App(command=("true",), directory=".", source=".", leaves_result=False),
        submit=(0,),
        launcher="trident_slurm",
        resources=resolve(OPTIONS, {}, gpus=0),
        slots=1,
        options={**OPTIONS, "template": "minimal"},
    )
    array = renamed.arrays.planned((0,), plan.launcher_record())
    assert renamed.job_name == "s:ab12cd34"
    assert "#SBATCH --job-name=s:ab12cd34\n" in script_of(plan, renamed, array)
