"""Arrays of a plan: their scripts, and in which order they are submitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from written import written

from trident.launch.core.resources import resolve
from trident.launch.core.scheduling import Dependency
from trident.launch.errors import NoRoomError
from trident.launch.planning.app import App
from trident.launch.planning.groups import Group
from trident.launch.planning.plan import Plan
from trident.launch.schedulers import submission
from trident.launch.schedulers.slurm.scheduler import SlurmScheduler
from trident.launch.schedulers.submission import script_of, submit_all
from trident.launch.sweepdir.sweep import SweepDir

OPTIONS = {"timeout_min": 60, "signal_delay_s": 120, "template": "minimal"}


def planned(
    *groups: tuple[int, ...], slots: int = 1, canary: bool = False, after: tuple[str, ...] = ()
) -> Plan:
    """A plan whose groups have different resources."""
    options = [{**OPTIONS, "mem_gb": number + 1} for number in range(len(groups))]
    return Plan(
        name="t",
        sweep_id="another",
        app=App(command=("true",), directory=".", source=".", leaves_result=False),
        launcher="trident_slurm",
        groups=tuple(
            Group(members=members, options=own, resources=resolve(own, {}, gpus=0), slots=slots)
            for members, own in zip(groups, options, strict=True)
        ),
        side_by_side=True,
        canary=canary,
        after=after,
    )


def test_all_jobs_of_a_sweep_have_one_name(tmp_path: Path) -> None:
    """Also those that are submitted after its directory was renamed, or by another plan, as an optimizer's next one."""
    sweep = written(tmp_path / "s", [("x=1",)], id="ab12cd34")
    renamed = SweepDir(sweep.path.rename(tmp_path / "t"))
    plan = planned((0,))
    (first,) = plan.arrays()
    array = renamed.arrays.planned((0,), plan.launcher_record(first))
    assert renamed.job_name == "s:ab12cd34"
    assert "#SBATCH --job-name=s:ab12cd34\n" in script_of(plan, first, renamed, array)


class Queue(SlurmScheduler):
    """A queue with room for so many arrays."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.submitted: list[tuple[int, list[Dependency]]] = []

    def cluster(self) -> str | None:
        return None

    def submit(
        self, script: Path, log: Path, after: Sequence[Dependency] = (), *, attached: bool = False
    ) -> str:
        if len(self.submitted) == self.room:
            raise NoRoomError("no room")
        number = int(script.parent.name)
        self.submitted.append((number, [*after]))
        return f"job{number}"


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDir:
    return written(tmp_path / "s", [(f"x={n}",) for n in range(6)])


def submit(plan: Plan, sweep: SweepDir, room: int, monkeypatch: pytest.MonkeyPatch) -> Queue:
    queue = Queue(room)
    monkeypatch.setattr(submission, "select", lambda name: queue)
    submit_all(plan, sweep)
    return queue


def test_arrays_of_different_resources_are_submitted_at_once(
    sweep: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = submit(planned((0, 1), (2,), slots=2, canary=True), sweep, 9, monkeypatch)
    canary = Dependency(job="job0", must_complete=True)
    assert queue.submitted == [(0, []), (1, [canary]), (2, [canary])]
    arrays = sweep.arrays.all()
    assert [array.members for array in arrays] == [(0,), (1,), (2,)]
    assert [array.launcher["resources"]["mem_gb"] for array in arrays] == [1, 1, 2]
    assert "#SBATCH --mem=2GB\n" in arrays[2].script.read_text()


def test_every_array_that_follows_no_other_one_waits_for_the_sweep_before(
    sweep: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = submit(planned((0, 1), (2,), (3,), slots=2, after=("7", "8")), sweep, 9, monkeypatch)
    both = [Dependency(job="7"), Dependency(job="8")]
    assert queue.submitted == [(0, both), (1, both), (2, [Dependency(job="job1")])]


def test_arrays_for_which_there_is_no_room_any_more_follow_the_last_one(
    sweep: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else has submitted jobs since the plan was made."""
    plan = planned((0, 1), (2, 3), (4,), (5,), slots=3)
    queue = submit(plan, sweep, 2, monkeypatch)
    assert [number for number, _ in queue.submitted] == [0, 1]
    arrays = sweep.arrays.all()
    assert [array.follows for array in arrays] == [None, None, 1, 2]
    assert [array.deferred for array in arrays] == [False, False, True, True]


@pytest.mark.parametrize(("room", "canary"), [(0, False), (1, True)])
def test_without_an_array_that_could_submit_the_others_it_is_an_error(
    room: int, canary: bool, sweep: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoRoomError):
        submit(planned((0, 1), (2,), slots=2, canary=canary), sweep, room, monkeypatch)
