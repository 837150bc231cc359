"""From a command line to a submitted array: plan, write to disk, submit, and then record the job's id."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

from trident.protocol.planned import PlannedConfig
from trident.protocol.project import CONFIG_NAME, config_path

from ..core.arrays import Array
from ..core.members import check_name, is_launcher_key, key_of, name_of, refuse_sweep_key
from ..core.metric_files import check_options
from ..core.options import refused
from ..core.scheduling import ResolvedResources
from ..core.script import refuse_control
from ..errors import UsageError
from ..monitoring.status import statuses
from ..planning.app import App, absolute, engine_app, external_app, plan_external
from ..planning.groups import Group, grouped, refuse_many
from ..planning.needs import MemberNeeds
from ..planning.plan import Composition, ExistingSweep, Plan, merged, plan
from ..schedulers.base import default_launcher, scheduler_of, select
from ..schedulers.submission import script_of, submit_all
from ..sweepdir.find import new_id
from ..sweepdir.ignored import included
from ..sweepdir.provenance import Revision, git, versions
from ..sweepdir.record import SweepRecord
from ..sweepdir.snapshot import freeze, left_out
from ..sweepdir.sweep import ROOT, SweepDir

__all__ = [
    "SubmitRequest",
    "check_files",
    "check_groups",
    "check_needs",
    "chosen_scheduler",
    "code_of",
    "place_of",
    "prepare",
    "resubmit",
    "scripts",
    "submit",
    "write_sweep",
]


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """What the user typed: overrides, and where the configs are."""

    overrides: Sequence[str]
    _: KW_ONLY
    directory: Path
    name: str | None = None
    app: str | None = None
    """The command that starts an external app; None for trident's engine."""
    config_path: str | None = None
    config_name: str | None = None
    config_dir: str | None = None
    after: SweepDir | None = None
    """The sweep that has to end before this one begins."""
    canary: bool = False
    yes: bool = False
    """Whether more groups of members with the same resources than usual are meant."""

    @property
    def path(self) -> str:
        """Hydra's config path, absolute."""
        if self.config_path is None:
            return config_path(self.directory)
        return absolute(self.config_path, self.directory)


def prepare(request: SubmitRequest, root: Path | None = None) -> tuple[Plan, SweepDir]:
    """The plan of a request, and where its sweep is or will be. All checks are made here, and nothing is written.

    Args:
        root: the directory of sweeps, by default ``logs/sweeps`` in the request's directory.

    Raises:
        UsageError: the request cannot be submitted; the message says what is wrong.
        SchedulerError: the scheduler does not answer.
    """
    composition = _composed(request)
    warnings = check_files(
        composition.launcher,
        composition.missing,
        request.directory,
        first=request.after is None,
    )
    groups = check_needs(
        composition.launcher,
        composition.needs,
        composition.app,
        many=None if request.yes else "--yes submits them",
    )
    sweep = _directory(request, composition.points[0], root or request.directory / ROOT)
    after = () if request.after is None else _jobs_of(request.after, composition.launcher)
    prepared = plan(
        composition,
        groups,
        name=sweep.name,
        sweep_id=new_id(),
        named=request.name is not None,
        after=after,
        canary=request.canary,
        existing=_existing(sweep),
    )
    if prepared.submit:
        _check_script(prepared, sweep)
    return replace(prepared, warnings=(*warnings, *_left_out(prepared))), sweep


# -- what a plan is made from ----------------------------------------------------------------------------------------


def _composed(request: SubmitRequest) -> Composition:
    if request.app is not None:
        app = external_app(
            request.app,
            request.directory,
            config_path=request.config_path,
            config_name=request.config_name,
            config_dir=request.config_dir,
        )
        return _composed_by_app(request, app)
    from ..planning.compose import compose

    app = engine_app(
        config_path=request.config_path,
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
    return Composition(
        app=replace(
            app,
            shared=composed.shared,
            searchpath=composed.searchpath,
            callbacks=composed.callbacks,
        ),
        points=composed.points,
        launcher=chosen_scheduler(composed.launcher, composed.needs),
        needs=composed.needs,
        planned=composed.planned,
        files=composed.files,
        missing=composed.missing,
    )


def _composed_by_app(request: SubmitRequest, app: App) -> Composition:
    """An external app plans its points in a process of its own, where its configs can be found."""
    for override in request.overrides:
        refuse_sweep_key(key_of(override), override)
    for_launcher = [o for o in request.overrides if is_launcher_key(key_of(o))]
    for_members = [o for o in request.overrides if o not in for_launcher]
    planned = plan_external(app, for_members, for_launcher, default_launcher())
    needs = MemberNeeds.from_record(planned["needs"])
    return Composition(
        app=replace(
            app,
            shared=tuple(planned["shared"]),
            searchpath=tuple(planned["searchpath"]),
            callbacks=planned["callbacks"],
        ),
        points=[tuple(point) for point in planned["points"]],
        launcher=chosen_scheduler(planned["launcher"], needs),
        needs=needs,
        planned=tuple(map(PlannedConfig.from_line, planned["planned"])),
        files=tuple(map(Path, planned["files"])),
    )


def chosen_scheduler(choice: str, needs: MemberNeeds) -> str:
    """The name of the scheduler that ``hydra/launcher=CHOICE`` chooses."""
    return scheduler_of(choice, needs.distinct[0].options.get("_target_"))


def _directory(request: SubmitRequest, point: Sequence[str], root: Path) -> SweepDir:
    """Where the sweep is, or will be."""
    sweep = _named(request, point, root)
    refuse_control("the project's directory", str(request.directory))
    refuse_control("the sweep's directory", str(sweep.path))
    return sweep


def _named(request: SubmitRequest, point: Sequence[str], root: Path) -> SweepDir:
    if request.name is None:
        return _unused(SweepDir(root / name_of(point, time.strftime("%Y%m%d-%H%M%S"))))
    if request.name not in (path.name for path in root.glob("*") if SweepDir(path).exists()):
        check_name(request.name)  # an existing sweep may have a name that is older than this rule
    return SweepDir(root / request.name)


def _unused(sweep: SweepDir) -> SweepDir:
    """The directory, or the first of NAME-2, NAME-3, … that is free: two sweeps may be submitted in one second."""
    count, candidate = 1, sweep
    while candidate.path.exists():
        count += 1
        candidate = SweepDir(sweep.path.with_name(f"{sweep.name}-{count}"))
    return candidate


def _existing(sweep: SweepDir) -> ExistingSweep | None:
    """What is on disk of a sweep; None where it is new. Raises UsageError where nothing can be written there."""
    _check_writable(sweep)
    if not sweep.exists():
        return None
    return ExistingSweep(
        path=sweep.path,
        id=sweep.record.id,
        command_line=sweep.record.command_line,
        app=App.from_record(sweep.record.app),
        members=sweep.members(),
        statuses=statuses(sweep),
    )


def _check_writable(sweep: SweepDir) -> None:
    if not sweep.exists() and not sweep.is_free():
        raise UsageError(f"{sweep.path} exists, and is not a sweep\nhint: choose another --name")
    existing = next(p for p in (sweep.path, *sweep.path.parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(
            f"cannot write the sweep directory {sweep.path}: {existing} is not writable by you"
        )


def _jobs_of(sweep: SweepDir, launcher: str) -> tuple[str, ...]:
    """The jobs of a sweep that have members running or waiting."""
    known = statuses(sweep)

    def is_live(array: Array) -> bool:
        return not all(known[index].state.ended for index in array.members)

    return tuple(_job_of(sweep.name, a, launcher) for a in sweep.arrays.all() if is_live(a))


def _job_of(name: str, array: Array, launcher: str) -> str:
    if array.launcher["name"] != launcher:
        raise UsageError(
            f"--after {name}: it uses {array.launcher['name']}, and this sweep {launcher}: expected the same launcher"
        )
    if array.job is None:
        raise UsageError(
            f"--after {name}: a part of it is not submitted yet, so there is no job to wait for\n"
            "hint: `trident-sweep status` says what it waits for"
        )
    return array.job


# -- what is checked before anything is written ----------------------------------------------------------------------


def check_needs(
    launcher: str, needs: MemberNeeds, app: App, *, many: str | None
) -> list[tuple[Group, ResolvedResources]]:
    """The members by what they need, and how the scheduler runs each group.

    Args:
        many: how a sweep of more groups than usual is submitted, as a hint; None where that is meant.

    Raises:
        UsageError: options that contradict each other, or could never start on this machine or cluster.
    """
    groups = grouped(needs, gpus=select(launcher).gpus_per_node())
    if many is not None:
        refuse_many(groups, many)
    return check_groups(launcher, groups, app, members=len(needs.of))


def check_groups(
    launcher: str, groups: Sequence[Group], app: App, *, members: int
) -> list[tuple[Group, ResolvedResources]]:
    """The groups, and how the scheduler runs each as a part of `members` members.

    Raises:
        UsageError: an option that is wrong or not for this app, or that could never start on this machine or cluster.
    """
    scheduler = select(launcher)
    for group in groups:
        _refuse_options(group.options)
        check_options(group.options, of_engine=app.leaves_result)
    return [
        (group, scheduler.check(group.options, group.resources, members=members))
        for group in groups
    ]


def check_files(
    launcher: str, missing: Mapping[Path, str], directory: Path, *, first: bool
) -> tuple[str, ...]:
    """Check the files that members read and that do not exist here. Returns warnings of those that may exist for them.

    Args:
        missing: these files, each with a message.
        first: whether the sweep waits for no other, which could write files.

    Raises:
        UsageError: members run on this machine, or files are missing in the directory that they start in.
    """
    if not first:
        texts = _first([*missing.values()])
        return tuple(f"{text}; the sweep before may write it" for text in texts)
    project = directory.resolve()
    has_nodes = select(launcher).has_nodes
    refused: list[str] = []
    warnings: list[str] = []
    for file, text in missing.items():
        # A link in the project may lead to a file system that only nodes have.
        below = file.resolve().is_relative_to(project)
        (warnings if has_nodes and not below else refused).append(text)
    if refused:
        raise UsageError("\n".join(_first(refused)))
    return tuple(f"{text}; nodes may see it" for text in _first(warnings))


def _first(texts: Sequence[str], most: int = 5) -> list[str]:
    more = [f"and {len(texts) - most} more missing files"] if len(texts) > most else []
    return [*texts[:most], *more]


def _refuse_options(options: Mapping[str, Any]) -> None:
    for key, (default, why) in refused().items():
        if options.get(key, default) != default:
            raise UsageError(
                f"hydra.launcher.{key}={options[key]}: not an option here\nhint: {why}"
            )


def _check_script(plan: Plan, sweep: SweepDir) -> None:
    """Raises UsageError where the scheduler would not take a script, or members would not see the sweep."""
    scheduler = select(plan.launcher)
    scheduler.check_directory(sweep.path)
    for _, script in scripts(plan, sweep):
        scheduler.check_script(script)


def place_of(plan: Plan) -> str:
    """Where the members of a plan run, in words."""
    return select(plan.launcher).place


# -- submitting ------------------------------------------------------------------------------------------------------


def submit(plan: Plan, sweep: SweepDir, command_line: str) -> tuple[Plan, SweepDir]:
    """Write the sweep and submit it. Returns the final plan and sweep, which a simultaneous submission may change.

    An unnamed sweep always gets a new directory; with a name, an existing sweep is continued.

    Raises:
        UsageError: the sweep cannot be written, or cannot be continued by this plan.
        SchedulerError: the scheduler refuses it or does not answer; the sweep is written.
    """
    # First, since afterwards the sweep's own files are changes of the work tree.
    revision = git(Path(plan.app.directory))
    while not plan.named and not sweep.take():
        sweep = _unused(sweep)
    with sweep.locked():
        plan = merged(replace(plan, name=sweep.name), _existing(sweep))
        plan = plan.with_code(code_of(plan, sweep))
        sweep.plans.add(plan.code, plan.planned)
        write_sweep(plan, sweep, command_line, revision)
        if plan.submit:
            resubmit(plan, sweep)
    return plan, sweep


def write_sweep(plan: Plan, sweep: SweepDir, command_line: str, revision: Revision) -> None:
    """Write a new sweep as planned, or the members that are new in an existing one."""
    if sweep.exists():
        sweep.write_members(plan.members)
        return
    git_state, diff = revision
    record = SweepRecord(
        id=plan.sweep_id,
        name=sweep.name,
        command_line=command_line,
        created=time.time(),
        app=plan.app.record(),
        launcher=plan.launcher_record(),
        git=git_state,
        versions=versions(),
    )
    sweep.create(record, plan.members, diff=diff)


def code_of(plan: Plan, sweep: SweepDir) -> str | None:
    """Freeze the code as it is now. Returns its hash; None where the options switch it off, or git knows no files."""
    if not plan.freezes:
        return None
    return freeze(sweep, Path(plan.app.directory), _others(plan))


def _others(plan: Plan) -> list[Path]:
    """What is copied with the code though git may ignore it."""
    return [*plan.files, *included(Path(plan.app.directory), plan.snapshot_include)]


def _left_out(plan: Plan) -> list[str]:
    """Warnings of modules that members import and will not have."""
    if not plan.freezes:
        return []
    names = left_out(Path(plan.app.directory), _others(plan))
    if not names:
        return []
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [
        f"the code imports {', '.join(names[:5])}{more}, and git ignores that: members run without it, or with what "
        f"is there when they start\nhint: `hydra.launcher.snapshot_include=[{','.join(names[:5])}]` copies it, too"
    ]


def resubmit(plan: Plan, sweep: SweepDir) -> None:
    """Submit more arrays of an existing sweep: write everything, submit, then record the job's id."""
    for index in plan.submit:
        sweep.attempts.unmark_cancelled(index)
    submit_all(plan, sweep)


def scripts(plan: Plan, sweep: SweepDir) -> Iterator[tuple[tuple[int, ...], str]]:
    """The scripts of a plan that is not written yet: one for each set of resources, with its array's members."""
    seen: list[Group] = []
    for position, planned in enumerate(plan.arrays()):
        if planned.group not in seen:
            seen.append(planned.group)
            array = sweep.arrays.planned(
                planned.members,
                plan.launcher_record(planned),
                others=position,
                script=select(plan.launcher).script_name,
                offset=planned.offset,
            )
            yield planned.members, script_of(plan, planned, sweep, array)
