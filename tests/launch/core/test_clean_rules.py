"""The rules of `clean`: the command has an option for each, and each one works."""

from __future__ import annotations

from pathlib import Path

from written import written

from trident.launch.cli.commands import trident_sweep
from trident.launch.core.clean_rules import RULES
from trident.launch.operations.clean import freeable


def test_each_rule_is_an_option_that_says_what_it_frees() -> None:
    options = {option.opts[0]: option for option in trident_sweep.commands["clean"].params}
    for rule, what in RULES.items():
        assert getattr(options[f"--{rule}"], "help", None) == f"Free {what}."


def test_each_rule_can_be_applied(tmp_path: Path) -> None:
    sweep = written(tmp_path / "s", [])
    assert [freed.rule for freed in freeable(sweep, [r for r in RULES if r != "all"])] == [
        rule for rule in RULES if rule != "all"
    ]
    assert [freed.paths for freed in freeable(sweep, RULES)] == [(sweep.path,)]
