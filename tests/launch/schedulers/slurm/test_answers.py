"""What is read of the output of SLURM's commands, and what is left as text."""

from __future__ import annotations

import pytest

from trident.launch.schedulers.slurm.answers import (
    ROW_ID,
    ROW_STATE,
    job_id,
    numbers_of,
    read_table,
)

HEADER = "JOBID|STATE|REASON|NAME\n"


@pytest.mark.parametrize(
    ("expression", "numbers", "cut"),
    [
        ("52_7", [7], False),
        ("52_[3]", [3], False),
        ("52_[0-3,7]", [0, 1, 2, 3, 7], False),
        ("52_[5,7-8%2]", [5, 7, 8], False),
        ("52_[0-8:4%256]", [0, 4, 8], False),
        ("52_[0-4:2,9]", [0, 2, 4, 9], False),
        ("52_[1,5-7,...]", [1, 5, 6, 7], True),
        ("52_[1,5-7,...%4]", [1, 5, 6, 7], True),
        ("52_[1,5-7...]", [1], True),  # 7 may be 70
        ("52_[1,5-...]", [1], True),
        ("52_[...]", [], True),
    ],
)
def test_array_expressions_of_all_forms(expression: str, numbers: list[int], cut: bool) -> None:
    found = numbers_of(expression)
    assert found is not None
    assert (found.job, list(found), found.cut) == ("52", numbers, cut)


@pytest.mark.parametrize("text", ["52", "52_[]", "52_[1-3", "52_[a]", "x_1", "", "52_1.batch"])
def test_any_other_text_is_no_array_expression(text: str) -> None:
    assert numbers_of(text) is None


@pytest.mark.parametrize(
    ("printed", "job"),
    [
        ("33\n", "33"),
        ("33;big-1.x\n", "33"),
        ("a banner\n33\n", "33"),
        ("33;big\nsbatch: your project has 3 h left\nbye 44\n", "33"),
        ("2026\n33;big\n", "33"),
        ("Submitted batch job 33\n", "33"),
        ("Submitted batch job 33 on cluster big\n", "33"),
        ("2026\n33\n", None),
        ("submitted\n", None),
        ("", None),
    ],
)
def test_the_id_of_a_submitted_job_is_found_among_other_lines(
    printed: str, job: str | None
) -> None:
    assert job_id(printed) == job


def test_rows_are_told_from_banners_and_from_rows_of_others() -> None:
    text = f"hello | you\n{HEADER}7_0|PENDING|a|b|a|b c\n7_1|RUNNING|None|other\nbye\n"
    table = read_table(text, {"a|b c"}, ROW_ID, ROW_STATE, ".*")
    assert [row.fields for row in table.rows] == [("7_0", "PENDING", "a|b")]
    assert table.odd == ("hello | you", "bye") and table.is_slurms
    assert table.doubt("a|b c", "7") is None


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("", "no table in the answer: it is empty"),
        ("squeue is switched off today\n", "no table in the answer: squeue is switched off today"),
        ("7 | 33 people\n", "no table in the answer: 7 | 33 people"),
        (f"{HEADER}7_0|RUNN", "not understood: '7_0|RUNN'"),
        (f"{HEADER}seven|RUNNING|None|s:ab12\n", "not understood: 'seven|RUNNING|None|s:ab12'"),
        (f"{HEADER}7_0|läuft|None|s:ab12\n", "not understood: '7_0|läuft|None|s:ab12'"),
    ],
)
def test_what_is_not_understood_is_no_proof_that_a_job_has_ended(text: str, doubt: str) -> None:
    table = read_table(text, {"s:ab12"}, ROW_ID, ROW_STATE, ".*")
    assert not table.rows
    assert (table.doubt("s:ab12", "7") or "").startswith(doubt)


def test_rows_of_others_alone_are_an_answer() -> None:
    """A wrapper may leave out the header."""
    table = read_table("8_1|RUNNING|None|other\n", {"s:ab12"}, ROW_ID, ROW_STATE, ".*")
    assert table.doubt("s:ab12", "7") is None


def test_lines_about_other_jobs_leave_no_doubt() -> None:
    text = f"{HEADER}17_0|RUNN\n70_0|RUNN\n77 users are here\n"
    assert read_table(text, {"s:ab12"}, ROW_ID, ROW_STATE, ".*").doubt("s:ab12", "7") is None
