"""``python -m trident.run -m hydra/launcher=…`` with one of our launchers.

It waits until all members have ended, returns the members' values and raises their failures.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trident.protocol.planned import PlannedConfig

from ..core.members import Member, chooses_launcher, is_launcher_key, key_of
from ..core.states import State, Status
from ..errors import LaunchError, UsageError
from ..monitoring.status import Watch
from ..planning.app import App
from ..planning.needs import MemberNeeds
from ..planning.plan import Plan, scheduled
from ..schedulers.base import scheduler_of, select
from ..schedulers.submission import submit_all
from ..sweepdir.find import new_id
from ..sweepdir.provenance import git
from ..sweepdir.sweep import SweepDir
from .cancel import cancel
from .submit import check_needs, write_sweep

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig

__all__ = ["MemberFailed", "launch"]


log = logging.getLogger(__name__)

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
) -> list[JobReturn]:
    """Run the points as members `first`, `first + 1`, … of the sweep in ``hydra.sweep.dir``, and wait for them.

    Args:
        config: the app's, with its ``hydra`` section.
        loader: the app's, to compose what the members have to compose.

    Returns:
        The value of each point; a `MemberFailed` where it did not complete, which Hydra raises when it is read.

    Raises:
        UsageError: options that contradict each other, or a directory that holds another sweep.
    """
    sweep = SweepDir(Path(str(config.hydra.sweep.dir)))
    new = _members(config, points, first)
    plan = _plan(config, new, loader, name=sweep.name, launcher=launcher)
    revision = git(Path(plan.app.directory))
    with sweep.locked():
        if first == 0 and sweep.exists():
            raise UsageError(
                f"hydra.sweep.dir={sweep.path} already holds a sweep, whose results would be mixed with this one's\n"
                "hint: use a new directory for each sweep; by default its name contains the time"
            )
        earlier = [member for member in sweep.members() if member.index < first]
        plan = replace(plan, members=(*earlier, *new))
        sweep.plans.add(plan.code, plan.planned)
        write_sweep(plan, sweep, " ".join(sys.argv), revision)
    statuses = _run(plan, sweep)
    return [_job_return(sweep, member, statuses[member.index]) for member in new]


def _members(config: DictConfig, points: Sequence[Sequence[str]], first: int) -> tuple[Member, ...]:
    passed_on = [o for o in _of_hydra(config) if not is_launcher_key(key_of(o))]
    return tuple(
        Member(index=index, overrides=(*point, *passed_on))
        for index, point in enumerate(points, start=first)
    )


def _of_hydra(config: DictConfig) -> list[str]:
    """The overrides of Hydra itself, as typed."""
    from omegaconf import OmegaConf

    # Not item by item: OmegaConf would resolve `${run.nodes}` in an override, which each member resolves by itself.
    typed = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    assert isinstance(typed, list)
    return [*map(str, typed)]


def _plan(
    config: DictConfig,
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
        [o for o in _of_hydra(config) if chooses_launcher(key_of(o))],
        default=launcher,
        directory=Path.cwd(),
        with_trainer=True,
    )
    needs = MemberNeeds.from_record(composed["needs"])
    _refuse_another(launcher, composed["launcher"], needs)
    groups = [
        (replace(group, members=tuple(new[point].index for point in group.points)), resolved)
        for group, resolved in check_needs(launcher, needs, many=_MANY)
    ]
    app = replace(
        _this_app(config),
        shared=tuple(composed["shared"]),
        searchpath=tuple(composed["searchpath"]),
    )
    return Plan(
        name=name,
        sweep_id=new_id(),
        app=app,
        launcher=launcher,
        **scheduled(groups),
        planned=tuple(map(PlannedConfig.from_line, composed["planned"])),
    )


_MANY = "`trident-sweep submit --yes …` submits them"


def _refuse_another(launcher: str, choice: str, needs: MemberNeeds) -> None:
    """Raises UsageError where members choose another launcher than the one that Hydra has started."""
    chosen = scheduler_of(choice, needs.distinct[0].options.get("_target_"))
    if chosen != launcher:
        raise UsageError(
            f"members choose hydra/launcher={choice}, and Hydra has started {launcher}\n"
            f"hint: choose it on the command line: `hydra/launcher={choice}`"
        )


def _run(plan: Plan, sweep: SweepDir) -> dict[int, Status]:
    """Run the plan's members to their end."""
    submit_all(plan, sweep, attached=True)
    pause = min(LONGEST_S, max(SHORTEST_S, select(plan.launcher).poll_s))
    return _ended(sweep, plan.submit, pause)


def _ended(sweep: SweepDir, indexes: Sequence[int], pause: float) -> dict[int, Status]:
    """Wait until these members have ended; an interrupt cancels them."""
    watch, states = Watch(sweep), dict[int, State]()
    try:
        while True:
            statuses = {item.member.index: item.status for item in watch.look()}
            for index in indexes:
                if states.get(index) is not (state := statuses[index].state):
                    log.info("member %d is %s", index, state)
                    states[index] = state
            if all(state.ended for state in states.values()):
                return statuses
            time.sleep(pause)
    except KeyboardInterrupt:
        cancel(sweep, indexes)
        raise


def _job_return(sweep: SweepDir, member: Member, status: Status) -> JobReturn:
    from hydra.core.utils import JobReturn, JobStatus

    job = JobReturn(
        overrides=list(member.overrides),
        task_name=sweep.name,
        working_dir=str(sweep.member_dir(member.index)),
    )
    if status.state is State.COMPLETED and status.attempt is not None:
        job.status = JobStatus.COMPLETED
        job.return_value = (sweep.attempts.result(member.index, status.attempt) or {}).get("score")
    else:
        job.status = JobStatus.FAILED
        job.return_value = MemberFailed(
            f"member {member.index} is {status.state}, {status.cause}: {status.detail}\n"
            f"hint: `trident-sweep logs {sweep.path} {member.index}`"
        )
    return job


def _this_app(config: DictConfig) -> App:
    """The app whose process this is, as Python says that it was started."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    directory = str(Path.cwd())
    module = spec.name.removesuffix(".__main__") if spec is not None else None
    if module is None and Path(sys.argv[0]).name == "trident":
        module = "trident.run"
    start = ("-P", "-m", module) if module else (str(Path(sys.argv[0]).resolve()),)
    source = os.pathsep.join(entry or directory for entry in (directory, *sys.path[:1]))
    return App(
        command=(sys.executable, *start, *_config_options(config)),
        directory=directory,
        source=source,
        leaves_result=module == "trident.run",
    )


def _config_options(config: DictConfig) -> list[str]:
    """The options by which another process finds the same configs."""
    name = config.hydra.job.config_name
    options = [] if name is None else [f"--config-name={name}"]
    sources = {source.provider: source for source in config.hydra.runtime.config_sources}
    main, extra = sources.get("main"), sources.get("command-line")
    if main is not None and main.path:
        scheme = "pkg://" if main.schema == "pkg" else ""
        options.append(f"--config-path={scheme}{main.path}")
    if extra is not None and extra.path:
        options.append(f"--config-dir={extra.path}")
    return options
