"""What members need is read with each member's own values, and kept once where it is the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from trident.launch.errors import UsageError
from trident.launch.planning.needs import MemberNeeds, Needs, NeedsReader, needs_of

SOME = st.builds(
    lambda nodes, devices: Needs(options={"nodes": nodes}, trainer={"devices": devices}),
    st.integers(1, 3),
    st.integers(1, 2),
)


@given(st.lists(SOME, max_size=20))
def test_needs_are_kept_once_and_survive_their_record(given: list[Needs]) -> None:
    found = needs_of(given)
    assert [found.distinct[at] for at in found.of] == given
    assert len({repr(needs) for needs in found.distinct}) == len(found.distinct)
    assert MemberNeeds.from_record(json.loads(json.dumps(found.record()))) == found


def config(launcher: dict[str, Any], **task: Any) -> DictConfig:
    return OmegaConf.create({"hydra": {"launcher": launcher}, **task})


def reader(composed: DictConfig, *plain: bool, with_trainer: bool = True) -> NeedsReader:
    return NeedsReader(composed, plain, with_trainer=with_trainer, resolve=lambda read: read())


def never(_: Sequence[str]) -> DictConfig:
    raise AssertionError("it need not be composed")


def read(reader: NeedsReader, *point: str, compose: Callable[..., DictConfig] = never) -> Needs:
    return reader.needs(point, compose)


def test_an_option_follows_a_members_own_value_through_other_keys() -> None:
    launcher = {"nodes": "${run.nodes}", "mem_gb": 4, "env": {"N": "n${size}"}}
    composed = config(launcher, run={"nodes": "${size}"}, size=1)
    before = OmegaConf.to_yaml(composed)
    options = reader(composed, True, False)
    for size in (2, 1, 3):
        needs = read(options, f"size={size}", "group=a")
        assert needs.options == {"nodes": size, "mem_gb": 4, "env": {"N": f"n{size}"}}
    assert OmegaConf.to_yaml(composed) == before


def test_a_resolver_may_compute_an_option() -> None:
    OmegaConf.register_new_resolver("twice", lambda number: 2 * number)
    try:
        options = reader(config({"nodes": "${twice:${size}}"}, size=1), True)
        assert read(options, "size=3").options == {"nodes": 6}
    finally:
        OmegaConf.clear_resolver("twice")


def test_options_that_refer_to_nothing_are_read_once() -> None:
    same = reader(
        config({"nodes": 2}, size=1, trainer={"devices": 2, "max_steps": "${size}"}), True
    )
    first, second = read(same, "size=1"), read(same, "size=2")
    assert first is second
    assert first == Needs(options={"nodes": 2}, trainer={"devices": 2})


def test_a_trainers_ranks_follow_a_members_own_value() -> None:
    composed = config({}, size=1, trainer={"devices": "${size}", "accelerator": "cpu"})
    assert read(reader(composed, True), "size=4").trainer == {"devices": 4, "accelerator": "cpu"}
    assert read(reader(composed, True, with_trainer=False), "size=4").trainer == {}
    odd = config({}, size=1, trainer="a word")
    assert read(reader(odd, True), "size=4").trainer == {}


def test_a_whole_section_is_composed() -> None:
    """Hydra merges it into what is there."""
    launcher = {"nodes": "${run.nodes}"}
    options = reader(config(launcher, run={"nodes": 1}), True)
    other = config(launcher, run={"nodes": 5, "size": 2})
    assert read(options, "run={size: 2}", compose=lambda _: other).options == {"nodes": 5}


@pytest.mark.parametrize(
    "text", ["${hydra.job.num}", "a-${hydra:job.override_dirname}", "${ hydra.overrides.task}"]
)
def test_what_is_different_for_each_member_is_no_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"hydra.launcher.comment: `.*differs(.|\n)*hint: "):
        reader(config({"comment": text}), True)
