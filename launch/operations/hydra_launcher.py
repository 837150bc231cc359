"""``python -m trident.run -m hydra/launcher=…`` with one of our launchers.

It waits until all members have ended, returns the members' values and raises their failures.
"""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trident.protocol.planned import PlannedConfig

from ..core.arrays import brief_ranges
from ..core.members import Member, is_launcher_key, is_shared, key_of
from ..core.states import State, Status
from ..errors import LaunchError, UsageError
from ..monitoring.status import Watch, statuses
from ..planning.app import App
from ..planning.folders import folder_of, with_own_folders
from ..planning.needs import MemberNeeds
from ..planning.plan import Plan, scheduled
from ..planning.this_app import hydra_overrides, this_app
from ..schedulers.base import select
from ..schedulers.submission import submit_all
from ..sweepdir.find import new_id
from ..sweepdir.outcome import outcome
from ..sweepdir.provenance import git
from ..sweepdir.sweep import SweepDir
from .cancel import cancel
from .submit import check_files, check_needs, chosen_scheduler, write_sweep

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig

__all__ = ["MemberFailed", "launch"]


log = logging.getLogger(__name__)

_NO_VALUE = (
    "it has no value to optimize\nhint: return a number from the main function, or name a metric by "
    "`hydra.launcher.optimized_metric` (for the engine, by `run.optimized_metric`)"
)

_MANY = "`trident-sweep submit --yes …` submits them"

SHORTEST_S, LONGEST_S = 0.1, 2.0
"""Bounds of the pause before the members' files are read again."""


class MemberFailed(LaunchError):
    """A member of a blocking sweep did not complete."""


def launch(
    config: DictConfig,
    points: Sequence[Sequence[str]],
    *,
    first: int,
    launcher: str,
    loader: ConfigLoader,
    task: Any = None,
    live: Callable[[SweepDir], Any] | None = None,
) -> list[JobReturn]:
    """Run the points as members `first`, `first + 1`, … of the sweep in ``hydra.sweep.dir``, and wait for them.

    Args:
        config: the app's, with its ``hydra`` section.
        loader: the app's, to compose what the members have to compose.
        task: the app's main function.
        live: shows the sweep until it has ended; without it, each change of a member's state is logged.

    Returns:
        The value of each point; a `MemberFailed` where it did not complete, which Hydra raises when it is read.

    Raises:
        UsageError: options that contradict each other, a directory in which another sweep runs, or a task that no
            command line starts.
    """
    app = this_app(config, task)
    sweep = SweepDir(Path(str(config.hydra.sweep.dir)))
    new = _members(config, points, first, loader)
    plan = _plan(config, app, new, loader, name=sweep.name, launcher=launcher)
    revision = git(Path(plan.app.directory))
    with sweep.locked():
        if first == 0 and sweep.exists():
            sweep = _without_earlier(sweep)
        earlier = [member for member in sweep.members() if member.index < first]
        new = with_own_folders(earlier, new)
        plan = replace(plan, members=(*earlier, *new))
        sweep.plans.add(plan.code, plan.planned)
        write_sweep(plan, sweep, " ".join(sys.argv), revision)
    ended = _run(plan, sweep, live)
    optimizes = config.hydra.runtime.choices["hydra/sweeper"] != "basic"
    return [
        _job_return(sweep, config, member, ended[member.index], optimizes=optimizes)
        for member in new
    ]


def _without_earlier(sweep: SweepDir) -> SweepDir:
    """The same directory for a new sweep: the one that is there is moved aside, so that results are not mixed."""
    live = [index for index, status in statuses(sweep).items() if not status.state.ended]
    if live:
        raise UsageError(
            f"hydra.sweep.dir={sweep.path} holds a sweep whose members {brief_ranges(live)} have not ended\n"
            f"hint: use another directory, or `trident-sweep cancel {shlex.quote(str(sweep.path))}`"
        )
    log.warning("the earlier sweep in %s is now in %s", sweep.path, sweep.set_aside())
    return SweepDir(sweep.path)


def _members(
    config: DictConfig, points: Sequence[Sequence[str]], first: int, loader: ConfigLoader
) -> tuple[Member, ...]:
    passed_on = [o for o in hydra_overrides(config) if not is_launcher_key(key_of(o))]
    return tuple(
        Member(
            index=index,
            overrides=(*point, *passed_on),
            folder=folder_of(config, point, index, loader),
        )
        for index, point in enumerate(points, start=first)
    )


def _plan(
    config: DictConfig,
    app: App,
    new: Sequence[Member],
    loader: ConfigLoader,
    *,
    name: str,
    launcher: str,
) -> Plan:
    """The plan of these members, with the configs that they have to compose."""
    from ..planning.compose import plan_of_points
    from ..planning.hydra_session import LoaderSession

    composed = plan_of_points(
        LoaderSession(loader),
        config.hydra.job.config_name,
        [member.overrides for member in new],
        [o for o in hydra_overrides(config) if is_shared(key_of(o))],
        default=launcher,
        directory=Path.cwd(),
        of_engine=app.leaves_result,
    )
    missing = {Path(file): text for file, text in composed["missing"].items()}
    for warning in check_files(launcher, missing, Path.cwd(), first=True):
        log.warning(warning)
    needs = MemberNeeds.from_record(composed["needs"])
    _refuse_another(launcher, composed["launcher"], needs)
    groups = [
        (replace(group, members=tuple(new[point].index for point in group.points)), resolved)
        for group, resolved in check_needs(launcher, needs, app, many=_MANY)
    ]
    shared, searchpath = tuple(composed["shared"]), tuple(composed["searchpath"])
    return Plan(
        name=name,
        sweep_id=new_id(),
        app=replace(app, shared=shared, searchpath=searchpath),
        launcher=launcher,
        **scheduled(groups),
        planned=tuple(map(PlannedConfig.from_line, composed["planned"])),
    )


def _refuse_another(launcher: str, choice: str, needs: MemberNeeds) -> None:
    """Raises UsageError where members choose another launcher than the one that Hydra has started."""
    if chosen_scheduler(choice, needs) != launcher:
        raise UsageError(
            f"members choose hydra/launcher={choice}, and Hydra has started {launcher}\n"
            f"hint: choose it on the command line: `hydra/launcher={choice}`"
        )


def _run(plan: Plan, sweep: SweepDir, live: Callable[[SweepDir], Any] | None) -> dict[int, Status]:
    """Run the plan's members to their end; an interrupt cancels them."""
    submit_all(plan, sweep, attached=True)
    pause = min(LONGEST_S, max(SHORTEST_S, select(plan.launcher).poll_s))
    try:
        if live is not None:
            live(sweep)
            return statuses(sweep)
        return _ended(sweep, plan.submit, pause)
    except KeyboardInterrupt:
        cancel(sweep, plan.submit)
        raise


def _ended(sweep: SweepDir, indexes: Sequence[int], pause: float) -> dict[int, Status]:
    """Wait until these members have ended, and log the changes of their states."""
    watch, states = Watch(sweep), dict[int, State]()
    while True:
        found = {item.member.index: item.status for item in watch.look()}
        for index in indexes:
            if states.get(index) is not (state := found[index].state):
                log.info("member %d is %s", index, state)
                states[index] = state
        if all(state.ended for state in states.values()):
            return found
        time.sleep(pause)


def _job_return(
    sweep: SweepDir, config: DictConfig, member: Member, status: Status, *, optimizes: bool
) -> JobReturn:
    from hydra.core.utils import JobReturn, JobStatus

    job = JobReturn(
        overrides=list(member.overrides),
        task_name=config.hydra.job.name,
        working_dir=str(sweep.member_dir(member.index)),
    )
    if status.state is State.COMPLETED and status.attempt is not None:
        job.status = JobStatus.COMPLETED
        achieved = outcome(sweep, member.index, status.attempt)
        job.return_value = achieved.objective
        if achieved.objective is None and optimizes:
            log.warning("member %d: %s", member.index, achieved.problem or _NO_VALUE)
    else:
        job.status = JobStatus.FAILED
        job.return_value = MemberFailed(
            f"member {member.index} is {status.state}, {status.cause}: {status.detail}\n"
            f"hint: `trident-sweep logs {sweep.path} {member.index}`"
        )
    return job
