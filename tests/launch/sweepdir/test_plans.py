"""The planned configs of a sweep: a member finds its own, by its overrides and the code that it runs."""

from __future__ import annotations

from pathlib import Path

from trident.launch.sweepdir.plans import Plans
from trident.protocol.member import PLANNED
from trident.protocol.planned import PlannedConfig, read_planned


def planned(*signature: str, config: str, shared: tuple[str, ...] | None = None) -> PlannedConfig:
    return PlannedConfig(signature=signature, config={"is": config}, shared=shared)


def config_of(
    plans: Plans, code: str | None, *overrides: str, shared: tuple[str, ...] = ()
) -> object:
    record = read_planned(plans.variable(code, overrides, shared).get(PLANNED, ""))
    return None if record is None else record.config["is"]


def test_a_member_finds_its_record(tmp_path: Path) -> None:
    plans = Plans(tmp_path / "planned")
    plans.add("1f2e", [planned("x", "e=a", config="a"), planned("x", "e=b", config="b")])
    plans.add("1f2e", [planned("x=${y}", "e=b", config="special")])
    plans.add(None, [planned("x", "e=a", config="live")])
    assert config_of(plans, "1f2e", "x=1", "e=a") == "a"
    assert config_of(plans, "1f2e", "x=2", "e=b") == "b"
    assert config_of(plans, "1f2e", "x=${y}", "e=b") == "special"
    assert config_of(plans, None, "x=1", "e=a") == "live"


def test_what_was_not_planned_has_no_record(tmp_path: Path) -> None:
    plans = Plans(tmp_path / "planned")
    assert plans.variable("1f2e", ["x=1"], ()) == {}
    plans.add("1f2e", [])
    assert not plans.path.exists()
    plans.add("1f2e", [planned("x", config="a")])
    assert config_of(plans, "1f2e", "y=1") is None
    assert config_of(plans, "0000", "x=1") is None


def test_a_later_plan_of_the_same_members_counts(tmp_path: Path) -> None:
    plans = Plans(tmp_path / "planned")
    for config in ("first", "second"):
        plans.add(None, [planned("x", config=config)])
    assert config_of(plans, None, "x=1") == "second"


def test_members_of_submissions_that_share_other_overrides_have_records_of_their_own(
    tmp_path: Path,
) -> None:
    plans = Plans(tmp_path / "planned")
    plans.add(None, [planned("x", config="older")])
    for name in ("here", "there"):
        plans.add(None, [planned("x", config=name, shared=(f"hydra/launcher={name}",))])
    assert config_of(plans, None, "x=1", shared=("hydra/launcher=here",)) == "here"
    assert config_of(plans, None, "x=1", shared=("hydra/launcher=there",)) == "there"
    assert config_of(plans, None, "x=1", shared=("hydra/launcher=other",)) == "older"
