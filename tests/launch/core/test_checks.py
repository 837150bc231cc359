"""A finding of the doctor, as it is printed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trident.launch.core.checks import Check

WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1)
CHECKS = st.builds(Check, name=WORDS, ok=st.booleans(), found=WORDS, means=st.just("") | WORDS)


@given(CHECKS)
def test_a_line_says_in_words_whether_it_is_fine_and_leaves_nothing_out(check: Check) -> None:
    line = check.line()
    assert line.startswith("ok  " if check.ok else "BAD  ")
    assert line.endswith(f"; {check.means}" if check.means else f": {check.found}")
    assert f"{check.name}: {check.found}" in line


@given(CHECKS)
def test_a_record_is_the_whole_check(check: Check) -> None:
    record = check.record()
    assert record.pop("check") == check.name
    assert record == {"ok": check.ok, "found": check.found, "means": check.means}
