"""From a command line to a submitted array, in the order that loses nothing: plan, disk, scheduler, the job's id."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trident.protocol.project import CONFIG_NAME, config_path

from ..core.members import Member, check_name, key_of, members, merge, name_of, refuse_ours
from ..core.resources import resolve
from ..core.script import refuse_control
from ..core.states import State, Status
from ..errors import UsageError
from ..monitoring.status import statuses
from ..planning.app import App, absolute, external, ours, plan_external
from ..planning.plan import Plan, ResolvedResources
from ..schedulers.base import default_launcher, scheduler_of, select
from ..schedulers.submission import script_of, submit_all
from ..sweepdir.find import new_id
from ..sweepdir.provenance import git, versions
from ..sweepdir.snapshot import freeze
from ..sweepdir.sweep import ROOT, SweepDir

__all__ = [
    "SubmitRequest",
    "check_resources",
    "code_of",
    "place_of",
    "plan",
    "resubmit",
    "script_text",
    "submit",
]

_REFUSED_OPTIONS = {
    "submitit_folder": "logs and records lie in the sweep's directory",
    "name": "`--name` names the sweep",
}


class SubmitRequest:
    """What the user typed: overrides, and where the configs are."""

    def __init__(
        self,
        overrides: Sequence[str],
        *,
        directory: Path,
        name: str | None = None,
        app: str | None = None,
        config_path: str | None = None,
        config_name: str | None = None,
        config_dir: str | None = None,
        after: SweepDir | None = None,
        canary: bool = False,
    ) -> None:
        self.overrides = list(overrides)
        self.directory = directory
        self.name = name
        self.external = app
        self.after, self.canary = after, canary
        self.config_path, self.config_name, self.config_dir = config_path, config_name, config_dir

    @property
    def path(self) -> str:
        return (
            config_path(self.directory)
            if self.config_path is None
            else absolute(self.config_path, self.directory)
        )


def plan(request: SubmitRequest, root: Path | None = None) -> tuple[Plan, SweepDir]:
    """Everything that can be found wrong is found here; nothing is written."""
    from ..planning.compose import compose, launcher_options

    if request.external is None:
        app = ours(
            config_path_=request.config_path,
            config_name=request.config_name,
            config_dir=request.config_dir,
            directory=request.directory,
        )
        composed = compose(
            request.overrides,
            path=request.path,
            name=request.config_name or CONFIG_NAME,
            config_dir=request.config_dir,
            directory=request.directory,
            default=default_launcher(),
        )
        points, options, trainers = composed.points, composed.options, composed.trainers
        launcher = scheduler_of(composed.launcher, options.get("_target_"))
    else:
        app = external(request.external, request.directory)
        for override in request.overrides:
            refuse_ours(key_of(override), override)
        chosen = [o for o in request.overrides if key_of(o) == "hydra/launcher"]
        mine = [o for o in request.overrides if key_of(o).startswith("hydra.launcher.")]
        points = plan_external(app, [o for o in request.overrides if o not in (*mine, *chosen)])
        choice, trainers = chosen[-1].partition("=")[2] if chosen else default_launcher(), [{}]
        options = launcher_options(
            mine,
            launcher=choice,
            path="pkg://trident.configs",
            name=CONFIG_NAME,
            config_dir=None,
            directory=request.directory,
        )
        launcher = scheduler_of(choice, options.get("_target_"))
    asked = check_resources(launcher, options, trainers, members=len(points))
    sweep = _sweep_of(request, root or request.directory / ROOT, points)
    if request.name is None:
        sweep = _unused(sweep)
    made = Plan(
        name=sweep.name,
        sweep_id=sweep.record["id"] if sweep.exists() else new_id(),
        app=app,
        points=members(points),
        named=request.name is not None,
        launcher=launcher,
        resources=asked.resources,
        slots=asked.slots,
        cut=asked.cut,
        after=() if request.after is None else _jobs_of(request.after, launcher),
        canary=request.canary,
        options=options,
    )
    made = merged(made, sweep)
    if made.submit:
        scheduler = select(launcher)
        scheduler.check_directory(sweep.path)
        scheduler.check_script(script_text(made, sweep))
    return made, sweep


def place_of(plan: Plan) -> str:
    """Where the members of a plan run, in words."""
    return select(plan.launcher).place


def _jobs_of(sweep: SweepDir, launcher: str) -> tuple[str, ...]:
    """The jobs of a sweep of which something still runs or waits."""
    known = statuses(sweep)
    live = [
        array
        for array in sweep.arrays()
        if not all(known[index].state.ended for index in array.members)
    ]
    for array in live:
        if array.launcher["name"] != launcher:
            raise UsageError(
                f"--after {sweep.name}: it runs by {array.launcher['name']}, and this sweep by {launcher}"
            )
        if array.job is None:
            raise UsageError(
                f"--after {sweep.name}: a part of it is not submitted yet, and has no job to wait for\n"
                "hint: `trident-sweep status` says what it waits for"
            )
    return tuple(array.job for array in live if array.job)


def check_resources(
    launcher: str,
    options: Mapping[str, Any],
    trainers: Sequence[Mapping[str, Any]],
    *,
    members: int,
) -> ResolvedResources:
    """Raises UsageError for what contradicts itself, or could never start on this machine or cluster."""
    for key, why in _REFUSED_OPTIONS.items():
        if options.get(key) is not None:
            raise UsageError(
                f"hydra.launcher.{key}={options[key]}: not an option here\nhint: {why}"
            )
    if not options.get("stderr_to_stdout", True):
        raise UsageError(
            "hydra.launcher.stderr_to_stdout=false: a rank's log is one file, in the order of writing"
        )
    scheduler = select(launcher)
    gpus = scheduler.gpus_per_node()
    found = {resolve(options, trainer, gpus=gpus) for trainer in trainers}
    if len(found) > 1:
        said = " and ".join(sorted(f"{r.nodes} x {r.tasks_per_node}" for r in found))
        raise UsageError(
            f"members ask for different resources: {said} ranks\nhint: submit a sweep for each, or set "
            "`hydra.launcher.tasks_per_node` and leave `trainer.devices=auto`"
        )
    (resources,) = found
    return scheduler.check(options, resources, members=members)


def _sweep_of(request: SubmitRequest, root: Path, points: Sequence[tuple[str, ...]]) -> SweepDir:
    name = request.name
    if name is None:
        name = name_of(points[0], time.strftime("%Y%m%d-%H%M%S"))
    elif name not in (path.name for path in root.glob("*") if SweepDir(path).exists()):
        check_name(name)  # one that is there, from before there was a rule, goes on
    sweep = SweepDir(root / name)
    refuse_control("the project's directory", str(request.directory))
    refuse_control("the sweep's directory", str(sweep.path))
    return sweep


def _unused(sweep: SweepDir) -> SweepDir:
    """The directory, or with -2, -3 … behind it: two sweeps of one second are two sweeps."""
    count, candidate = 1, sweep
    while candidate.path.exists():
        count += 1
        candidate = SweepDir(sweep.path.with_name(f"{sweep.name}-{count}"))
    return candidate


def merged(plan: Plan, sweep: SweepDir) -> Plan:
    """The plan with all members of the sweep, and with those to run: what is new or unfinished of those asked for."""
    _check_writable(sweep)
    new, app = plan.points, plan.app
    if not sweep.exists():
        return replace(plan, members=new, submit=tuple(member.index for member in new))
    old = sweep.members()
    if App.from_record(sweep.record["app"]) != app or _keys(old) != _keys(new):
        raise UsageError(
            f"{sweep.path} belongs to another sweep: `{sweep.record['command_line']}`\n"
            "hint: choose another --name; the same keys with more values would go on with that one"
        )
    everybody, asked = merge(old, new)
    known = statuses(sweep)
    refuse_unknown(sweep, {index: known[index] for index in asked if index in known})
    return replace(
        plan,
        sweep_id=sweep.record["id"],
        members=everybody,
        submit=tuple(index for index in asked if not _is_done(known.get(index))),
    )


def refuse_unknown(sweep: SweepDir, known: Mapping[int, Status]) -> None:
    """Raises UsageError for members of which nobody here knows whether they run: none starts beside itself."""
    unknown = [index for index, status in known.items() if status.state is State.UNKNOWN]
    if unknown:
        named = " ".join(map(str, unknown))
        raise UsageError(
            f"members {named}: state unknown: {known[unknown[0]].reason}\n"
            "hint: if that machine is gone for good, name them: "
            f"`trident-sweep resume {shlex.quote(sweep.name)} {named}`"
        )


def _keys(sweep: Sequence[Member]) -> frozenset[str]:
    return frozenset(key_of(override) for member in sweep for override in member.overrides)


def _check_writable(sweep: SweepDir) -> None:
    if not sweep.exists() and not sweep.is_free():
        raise UsageError(f"{sweep.path} is there, and is no sweep\nhint: choose another --name")
    existing = next(p for p in (sweep.path, *sweep.path.parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(
            f"cannot write the sweep directory {sweep.path}: {existing} is not writable for you"
        )


def submit(plan: Plan, sweep: SweepDir, command_line: str) -> tuple[Plan, SweepDir]:
    """Write and submit. Returns what was done, which another submission at the same time may have changed.

    An unnamed sweep gets a directory of its own; with a name, it goes on with what is there.
    """
    while not plan.named and not sweep.take():
        sweep = _unused(sweep)
    directory = Path(plan.app.directory)
    revision, diff = git(directory)
    record = {
        "id": plan.sweep_id,
        "name": sweep.name,
        "command_line": command_line,
        "created": time.time(),
        "app": plan.app.record(),
        "git": revision,
        "versions": versions(),
    }
    with sweep.locked():
        left = merged(replace(plan, name=sweep.name), sweep)
        left = replace(left, code=code_of(left, sweep))
        sweep.create({**record, "launcher": left.launcher_record()}, left.members, diff=diff)
        if left.submit:
            resubmit(left, sweep)
    return left, sweep


def code_of(plan: Plan, sweep: SweepDir) -> str | None:
    """Freeze the code as it is now, where that is wanted and can be."""
    return freeze(sweep, Path(plan.app.directory)) if plan.options.get("snapshot", True) else None


def _is_done(status: Status | None) -> bool:
    return status is not None and status.state in (State.COMPLETED, State.RUNNING, State.PENDING)


def resubmit(plan: Plan, sweep: SweepDir) -> None:
    """More arrays of a sweep that is on disk: everything is written, then submitted, then the id recorded."""
    for index in plan.submit:
        sweep.unmark_cancelled(index)
    submit_all(plan, sweep)


def script_text(plan: Plan, sweep: SweepDir) -> str:
    """The script of the first array of a plan, of which nothing is written yet."""
    (offset, some), *_ = plan.pieces()
    array = sweep.planned_array(
        some, plan.launcher_record(), script=select(plan.launcher).script_name, offset=offset
    )
    return script_of(plan, sweep, array)


def with_options(
    record: Mapping[str, Any], overrides: Sequence[str], *, members: int
) -> tuple[ResolvedResources, dict[str, Any]]:
    """An earlier array's launcher with `hydra.launcher.KEY=VALUE` on top, checked like any other."""
    from ..planning.compose import launcher_options

    stray = [o for o in overrides if not key_of(o).startswith("hydra.launcher.")]
    if stray:
        raise UsageError(
            f"{stray[0]}: a member's overrides are what it is, and stay\n"
            "hint: only hydra.launcher.KEY=VALUE may change; submit another sweep for other members"
        )
    given = {**record["options"], "array_parallelism": record["array_parallelism"]}
    if overrides:
        fresh = launcher_options(
            overrides,
            launcher=record["name"],
            path="pkg://trident.configs",
            name=CONFIG_NAME,
            config_dir=None,
            directory=Path.cwd(),
        )
        keys = {key_of(o).removeprefix("hydra.launcher.").partition(".")[0] for o in overrides}
        given.update({key: fresh[key] for key in keys})
        given["env"] = {**record["env"], **(given["env"] or {})}
    asked = check_resources(record["name"], given, [{"accelerator": "cpu"}], members=members)
    return asked, given
