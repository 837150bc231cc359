"""What is not the sweep's on a real SLURM: another's job that has its number, and words that would be commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from slurm_cluster import Login, until
from typed import SLURM, Cli


@contextmanager
def stranger(login: Login, cli: Cli) -> Iterator[str]:
    """Another's job that runs."""
    words = ("sbatch", "--parsable", "--array=0", "--mem=50", "--wrap=sleep 200")
    job = login.out(*words, cwd=cli.directory)
    try:
        until(lambda: runs(login, job), 30)
        yield job
    finally:
        login.run("scancel", job)


def runs(login: Login, job: str) -> bool:
    return login.out("squeue", "-h", "-r", "-j", job, "--format=%i %T") == f"{job}_0 RUNNING"


def renumber(cli: Cli, name: str, job: str) -> None:
    """As if SLURM, set up anew after the sweep was lost, had given its job's number to another one."""
    array = cli.sweep(name) / "arrays" / "0000"
    attempt = cli.sweep(name) / "members" / "0000" / "attempts" / "0"
    lease, task = attempt / "lease.json", f"{job}_0"
    for path in (array / "submission.json", array / "started.json", lease):
        if path.exists():
            path.write_text(json.dumps({**json.loads(path.read_text()), "job": job}))
    if lease.exists():
        lease.write_text(json.dumps({**json.loads(lease.read_text()), "task": task}))
        for path in (attempt / "end.json", *(attempt / "ranks").glob("*.json")):
            path.unlink()


def test_a_job_that_has_our_number_and_another_name_is_left_alone(cli, login, shared):
    words = (*SLURM, "--name", "s", "fail_rank=0", f"healed={shared}/healed")
    cli("submit", *words, "--wait", code=1)
    with stranger(login, cli) as job:
        renumber(cli, "s", job)
        (member,) = cli.members("s")
        assert (member["state"], member["cause"]) == ("FAILED", "lost")
        cli("cancel", "s", code=None)
        assert "is FAILED" in cli("attach", "s", "0", "--", "true", code=2).stderr
        assert runs(login, job)
        (shared / "healed").touch()
        cli("resume", "s", "0", "--wait")
        assert cli.states("s") == ["COMPLETED"]
        assert cli.submission("s", 1)["job"] != job and runs(login, job)


def test_a_member_that_waits_is_not_the_job_that_has_its_number(cli, login):
    begin = "+hydra.launcher.additional_parameters={begin: now+99}"
    cli("submit", *SLURM, "--name", "s", begin)
    login.run("scancel", cli.submission("s")["job"])
    with stranger(login, cli) as job:
        renumber(cli, "s", job)
        (member,) = cli.members("s")
        assert (member["state"], member["detail"]) == (
            "FAILED",
            "its launcher ended before it started",
        )
        cli("cancel", "s", code=None)
        assert runs(login, job)


def test_accounting_is_asked_for_the_name_as_well(cli, accounting):
    there = Cli(cli.directory, lambda argv, cwd: accounting.command(*argv, cwd=cwd))
    begin = "+hydra.launcher.additional_parameters={begin: now+99}"
    there("submit", *SLURM, "--name", "s", "word=a,b", begin)
    ours = there.submission("s")["job"]
    accounting.run("scancel", ours)
    with stranger(accounting, cli) as job:
        pass
    for known in (ours, job):
        until(
            lambda k=known: not accounting.run("squeue", "-h", "-tall", "-j", k, code=None).stdout,
            60,
        )
    assert there.states("s") == ["CANCELLED"] * 2  # which sacct alone remembers
    renumber(there, "s", job)
    ends = [(member["state"], member["detail"]) for member in there.members("s")]
    assert ends == [("FAILED", "its launcher ended before it started")] * 2


@pytest.mark.parametrize(
    "words",
    [
        ("--name", "a\ntouch pwned #"),
        ("hydra.launcher.comment='a\ntouch pwned #'",),
        ("+hydra.launcher.additional_parameters={wckey: 'a\ntouch pwned #'}",),
    ],
)
def test_what_stands_behind_a_line_break_is_no_command(words, cli, login):
    refused = cli("submit", *SLURM, *words, code=2).stderr
    assert "pwned" in refused and "hint: " in refused
    assert not login.out("squeue", "-h")
    assert not (cli.directory / "pwned").exists() and not (cli.directory / "logs").exists()


def test_a_project_whose_path_has_a_line_break_submits_nothing(cli, login):
    odd = Cli(cli.directory.rename(cli.directory.with_name("a\ntouch pwned #")), cli.command)
    assert "the project's directory is " in odd("submit", *SLURM, code=2).stderr
    assert not login.out("squeue", "-h")
    assert not (odd.directory / "logs").exists()
