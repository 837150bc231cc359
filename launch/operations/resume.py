"""Resuming the unfinished members of a sweep, and showing a member's command line."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trident.protocol.planned import PlannedConfig
from trident.protocol.project import CONFIG_NAME

from ..core.arrays import brief_ranges, ranges
from ..core.members import key_of
from ..core.selection import Selection
from ..core.states import State
from ..errors import UsageError
from ..monitoring.selected import selected
from ..planning.app import App, plan_again
from ..planning.groups import OF_THE_SWEEP, Group, grouped
from ..planning.needs import Needs, needs_of
from ..planning.plan import Plan, refuse_unknown, scheduled
from ..sweepdir.sweep import SweepDir
from .submit import check_groups, code_of, resubmit

__all__ = ["pasteable", "resume"]


def resume(
    sweep: SweepDir,
    indexes: Sequence[int],
    overrides: Sequence[str],
    *,
    selection: Selection | None = None,
    current_code: bool = False,
    fresh: bool = False,
) -> tuple[int, ...]:
    """Submit the members that failed or were lost, or only `indexes`. Returns the indexes that were submitted.

    Members that are alive or COMPLETED are left alone. A cancelled one is resumed only when it is named, and so is one
    whose state is unknown since another machine runs it: naming it asserts that none of its processes is left there.

    Args:
        overrides: ``hydra.launcher.KEY=VALUE``, for this submission only.
        selection: only these members. One that asks for the state CANCELLED names the cancelled members.
        current_code: run the code and the configs as they are now, not those that the sweep was submitted with.
        fresh: start from the beginning, not from the last checkpoint.

    Raises:
        UsageError: nothing can be resumed without naming it, or the overrides are refused.
        SchedulerError: the scheduler refuses the members.
    """
    with sweep.locked():
        wanted = _wanted(sweep, indexes, selection or Selection())
        if wanted:
            plans = _plans(sweep, wanted, overrides)
            if current_code:
                plans = [_with_current_code(plan, sweep) for plan in plans]
            if fresh:
                for index in wanted:
                    sweep.attempts.set_resume_aside(index)
            for plan in plans:
                resubmit(plan, sweep)
        return wanted


def _wanted(sweep: SweepDir, indexes: Sequence[int], selection: Selection) -> tuple[int, ...]:
    """The members to submit.

    Raises:
        UsageError: only cancelled members are left, or without `indexes`, the state of a member is unknown.
    """
    known = selected(sweep, indexes, selection)
    if not indexes:
        refuse_unknown(sweep.name, known)
    named = {State.FAILED, *selection.states & {State.CANCELLED}}
    if indexes:
        named |= {State.CANCELLED, State.UNKNOWN}
    wanted = tuple(index for index, status in known.items() if status.state in named)
    cancelled = [index for index, status in known.items() if status.state is State.CANCELLED]
    if cancelled and not wanted:
        which = ranges(cancelled)
        if len(which) > 60:
            which = f"{selection.typed} --state cancelled".strip()
        raise UsageError(
            f"nothing failed; members {brief_ranges(cancelled)} are cancelled, and are resumed only when they are "
            f"named\nhint: `trident-sweep resume {shlex.quote(sweep.name)} {which}`"
        )
    return wanted


def _with_current_code(plan: Plan, sweep: SweepDir) -> Plan:
    """The plan with the code and the configs as they are now, which its members then have to compose."""
    overrides = {member.index: member.overrides for member in plan.members}
    together: dict[tuple[Any, ...], list[int]] = {}
    for at, group in enumerate(plan.groups):
        app = group.app or plan.app
        together.setdefault((app.shared, app.searchpath), []).append(at)
    groups, planned, files = [*plan.groups], [], []
    for (shared, searchpath), positions in together.items():
        app = replace(plan.app, shared=shared, searchpath=searchpath)
        members = [index for at in positions for index in plan.groups[at].members]
        points = [overrides[index] for index in members]
        again = plan_again(app, points, plan.launcher)
        app = app.of_array(again)
        for at in positions:
            groups[at] = replace(groups[at], app=app)
        planned += [PlannedConfig.from_line(line) for line in again["planned"]]
        files += [Path(file) for file in again["files"]]
    plan = replace(plan, groups=tuple(groups), planned=tuple(planned), files=tuple(files))
    plan = plan.with_code(code_of(plan, sweep))
    sweep.plans.add(plan.code, plan.planned)
    return plan


def _plans(sweep: SweepDir, wanted: Sequence[int], overrides: Sequence[str]) -> list[Plan]:
    """A plan for each launcher that runs some of the members: a sweep that was continued may have several."""
    launchers = dict(zip(wanted, sweep.launchers_of(wanted), strict=True))
    by_name: dict[str, dict[int, Mapping[str, Any]]] = {}
    for index, launcher in launchers.items():
        by_name.setdefault(launcher["name"], {})[index] = launcher
    return [_plan(sweep, name, members, overrides) for name, members in by_name.items()]


def _plan(
    sweep: SweepDir, name: str, launchers: Mapping[int, Mapping[str, Any]], overrides: Sequence[str]
) -> Plan:
    """The plan of the members of one launcher. `launchers` says how each of them is run."""
    app = App.from_record(sweep.record.app)
    newest = sweep.newest_launcher(name)["options"]
    of_the_sweep = {key: newest[key] for key in OF_THE_SWEEP if key in newest}
    groups = _groups(app, launchers, {**of_the_sweep, **_given(overrides, name)})
    return Plan(
        name=sweep.name,
        sweep_id=sweep.record.id,
        app=app,
        members=sweep.members(),
        launcher=name,
        **scheduled(check_groups(name, groups, app, members=len(launchers))),
        resumed=True,
    )


def _groups(
    app: App, launchers: Mapping[int, Mapping[str, Any]], given: Mapping[str, Any]
) -> list[Group]:
    """The members by their options, their code and what they share, with the options that are `given` on top."""
    wanted = [*launchers]
    # The options hold the number of ranks already.
    needs = [
        Needs(options=_with_overrides(launcher, given), trainer={})
        for launcher in launchers.values()
    ]
    groups: list[Group] = []
    for group in grouped(needs_of(needs), gpus=0):
        members: dict[tuple[Any, ...], list[int]] = {}
        for index in (wanted[point] for point in group.points):
            own = app.of_array(launchers[index])
            key = (launchers[index].get("code"), own.shared, own.searchpath)
            members.setdefault(key, []).append(index)
        groups += [
            replace(
                group,
                points=(),
                members=tuple(indexes),
                code=code,
                app=replace(app, shared=shared, searchpath=searchpath),
            )
            for (code, shared, searchpath), indexes in members.items()
        ]
    return groups


def _given(overrides: Sequence[str], launcher: str) -> dict[str, Any]:
    """The options that `hydra.launcher.KEY=VALUE` sets."""
    stray = [o for o in overrides if not key_of(o).startswith("hydra.launcher.")]
    if stray:
        raise UsageError(
            f"{stray[0]}: a member's overrides cannot change\n"
            "hint: only hydra.launcher.KEY=VALUE may change; submit another sweep for other members"
        )
    if not overrides:
        return {}
    from ..planning.compose import launcher_options

    given = launcher_options(
        overrides,
        launcher=launcher,
        path="pkg://trident.configs",
        name=CONFIG_NAME,
        config_dir=None,
        directory=Path.cwd(),
    )
    # `hydra.launcher.env.A=1` sets the option `env`.
    keys = {key_of(o).removeprefix("hydra.launcher.").partition(".")[0] for o in overrides}
    return {key: given[key] for key in keys}


def _with_overrides(launcher: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an earlier array, with those `given` on top."""
    options = {**launcher["options"], **given}
    return {**options, "env": {**launcher["env"], **(options.get("env") or {})}}


def pasteable(sweep: SweepDir, index: int, *, in_place: bool) -> str:
    """One line for a POSIX shell that runs the member as the sweep does, by default outside the sweep's directory."""
    launcher = sweep.launcher_of(index)
    code = sweep.code_dir(launcher["code"]) if launcher.get("code") else None
    app = App.from_record(sweep.record.app).run_by(launcher, code)
    python = launcher["options"].get("python")
    outside = Path(app.directory) / "logs" / "show" / sweep.name / f"{index:04d}"
    directory = sweep.member_dir(index) if in_place else outside
    command = app.member_command(sweep.member(index), directory, sweep_id=sweep.record.id)
    ranks = launcher["resources"]["nodes"] * launcher["resources"]["tasks_per_node"]
    environment = {
        "PYTHONPATH": app.source,
        "OMP_NUM_THREADS": str(launcher["resources"]["cpus_per_task"]),
        **launcher["env"],
    }
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    words = shlex.join(_with_ranks(command, ranks, (sys.executable, python)))
    return f"cd {shlex.quote(app.directory)} && {settings} {words}"


def _with_ranks(command: Sequence[str], ranks: int, pythons: Sequence[str | None]) -> Sequence[str]:
    """The command of one rank, by torchrun as many times as there are ranks; unchanged if none of `pythons` runs it."""
    python, *rest = command
    if ranks == 1 or python not in pythons:
        return command
    if rest[0] == "-P":
        rest = rest[1:]
    torchrun = ("-P", "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}")
    return (python, *torchrun, *rest)
