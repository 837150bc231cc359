"""Resuming the unfinished members of a sweep, and showing a member's command line."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trident.protocol.project import CONFIG_NAME

from ..core.members import key_of
from ..core.states import State, Status
from ..errors import UsageError
from ..monitoring.status import statuses
from ..planning.app import App
from ..planning.plan import Plan, refuse_unknown
from ..sweepdir.sweep import SweepDir
from .submit import check_resources, code_of, resubmit

__all__ = ["pasteable", "resume"]


def resume(
    sweep: SweepDir,
    indexes: Sequence[int],
    overrides: Sequence[str],
    *,
    current_code: bool = False,
    fresh: bool = False,
) -> tuple[int, ...]:
    """Submit the members that failed or were lost, or only `indexes`. Returns the indexes that were submitted.

    They run the code that the sweep was submitted with, or with `current_code` the code as it is now. They resume from
    their last checkpoint, or with `fresh` from the beginning.
    Members that are alive or COMPLETED are left alone. A cancelled one is resumed only when it is named, and so is one
    whose state is unknown since another machine runs it: naming it asserts that none of its processes is left there.
    """
    with sweep.locked():
        wanted = _wanted(sweep, indexes)
        if wanted:
            plan = _plan(sweep, wanted, overrides)
            if current_code:
                plan = replace(plan, code=code_of(plan, sweep))
            if fresh:
                for index in wanted:
                    sweep.attempts.set_resume_aside(index)
            resubmit(plan, sweep)
        return wanted


def _wanted(sweep: SweepDir, indexes: Sequence[int]) -> tuple[int, ...]:
    known = statuses(sweep)
    asked = indexes or sorted(known)
    if not indexes:
        refuse_unknown(sweep.name, known)
    wanted = tuple(index for index in asked if _left(known[index], named=bool(indexes)))
    cancelled = [index for index in asked if known[index].state is State.CANCELLED]
    if cancelled and not wanted:
        named = " ".join(map(str, cancelled))
        raise UsageError(
            f"nothing failed; members {named} are cancelled, and are resumed only when they are named\n"
            f"hint: `trident-sweep resume {shlex.quote(sweep.name)} {named}`"
        )
    return wanted


def _left(status: Status, *, named: bool) -> bool:
    return status.state is State.FAILED or (
        named and status.state in (State.CANCELLED, State.UNKNOWN)
    )


def _plan(sweep: SweepDir, wanted: tuple[int, ...], overrides: Sequence[str]) -> Plan:
    arrays = sweep.arrays.all()
    launcher = arrays[-1].launcher if arrays else sweep.record.launcher
    options = _with_overrides(launcher, overrides)
    resolved = check_resources(
        launcher["name"], options, [{"accelerator": "cpu"}], members=len(wanted)
    )
    return Plan(
        name=sweep.name,
        sweep_id=sweep.record.id,
        app=App.from_record(sweep.record.app),
        members=sweep.members(),
        submit=wanted,
        launcher=launcher["name"],
        resources=resolved.resources,
        slots=resolved.slots,
        cut=resolved.cut,
        code=launcher.get("code"),
        options=options,
    )


def _with_overrides(launcher: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The options of an earlier array, with `hydra.launcher.KEY=VALUE` on top."""
    stray = [o for o in overrides if not key_of(o).startswith("hydra.launcher.")]
    if stray:
        raise UsageError(
            f"{stray[0]}: a member's overrides cannot change\n"
            "hint: only hydra.launcher.KEY=VALUE may change; submit another sweep for other members"
        )
    options = {**launcher["options"], "array_parallelism": launcher["array_parallelism"]}
    if not overrides:
        return options
    from ..planning.compose import launcher_options

    fresh = launcher_options(
        overrides,
        launcher=launcher["name"],
        path="pkg://trident.configs",
        name=CONFIG_NAME,
        config_dir=None,
        directory=Path.cwd(),
    )
    keys = {key_of(o).removeprefix("hydra.launcher.").partition(".")[0] for o in overrides}
    options |= {key: fresh[key] for key in keys}
    return {**options, "env": {**launcher["env"], **(options["env"] or {})}}


def pasteable(sweep: SweepDir, index: int, *, in_place: bool) -> str:
    """One line for a POSIX shell that runs the member as the sweep does, by default outside the sweep's directory."""
    launcher = sweep.record.launcher
    app = App.from_record(sweep.record.app)
    if launcher.get("code"):
        app = app.frozen(sweep.code_dir(launcher["code"]))
    directory = (
        sweep.member_dir(index)
        if in_place
        else Path(app.directory) / "logs" / "show" / sweep.name / f"{index:04d}"
    )
    command = app.member_command(sweep.member(index), directory, sweep_id=sweep.record.id)
    tasks = launcher["resources"]["nodes"] * launcher["resources"]["tasks_per_node"]
    if tasks > 1 and command[0] == sys.executable:
        torchrun = (
            "-P",
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={tasks}",
        )
        rest = command[2:] if command[1] == "-P" else command[1:]
        command = (sys.executable, *torchrun, *rest)
    environment = {
        "PYTHONPATH": app.source,
        "OMP_NUM_THREADS": str(launcher["resources"]["cpus_per_task"]),
        **launcher["env"],
    }
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    return f"cd {shlex.quote(app.directory)} && {settings} {shlex.join(command)}"
