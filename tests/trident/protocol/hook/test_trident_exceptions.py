"""What a Python program records of its end: through the hook, as real processes that know nothing of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trident.protocol.hook.trident_exceptions import FROZEN as FROZEN_OF_THE_HOOK
from trident.protocol.hook.trident_exceptions import VARIABLE, describe
from trident.protocol.member import EXCEPTIONS, FROZEN, HOOK


def run(
    program: str,
    folder: Path,
    *,
    hooked: bool = True,
    command: tuple[str, ...] = (),
    **environ: str,
) -> subprocess.CompletedProcess[str]:
    """Run a program as a worker does. Its records are `folder`/record-PID.json."""
    (folder / "program.py").write_text(program)
    path = os.pathsep.join(filter(None, [str(HOOK) if hooked else "", environ.get("PYTHONPATH")]))
    environment = {**os.environ, **environ, "PYTHONPATH": path}
    if hooked:
        environment[EXCEPTIONS] = f"0 {folder}/record"
    return subprocess.run(
        [*command, sys.executable, "program.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in folder.glob("record-*.json")]


PROGRAMS: dict[str, tuple[str, list[str]]] = {
    "raises": ("raise ValueError('bad')", ["ValueError: bad"]),
    "from": (
        "try: {}['x']\nexcept KeyError as e: raise ValueError('bad') from e",
        ["ValueError: bad", "cause", "KeyError: 'x'"],
    ),
    "from none": (
        "try: {}['x']\nexcept KeyError: raise ValueError('bad') from None",
        ["ValueError: bad"],
    ),
    "translates": (
        "try: {}['x']\nexcept KeyError: raise ValueError('bad')",
        ["ValueError: bad", "translated", "KeyError: 'x'"],
    ),
    "fails while handling": (
        "try: {}['x']\nexcept KeyError: int('a')",
        ["ValueError: invalid literal for int() with base 10: 'a'", "context", "KeyError: 'x'"],
    ),
    "handled before": (
        "try: {}['x']\nexcept KeyError: pass\nraise ValueError('bad')",
        ["ValueError: bad"],
    ),
    "group": (
        "raise ExceptionGroup('g', [ValueError('a'), KeyError('b')])",
        ["ExceptionGroup: g (2 sub-exceptions)", "member", "ValueError: a"],
    ),
    "prints it itself": (
        "import sys\ntry: {}['x']\nexcept KeyError: sys.exit(1)",
        ["KeyError: 'x'"],
    ),
    "exits": ("import sys; sys.exit(3)", []),
    "exits by raising": ("raise SystemExit(3)", []),
    "ends well": ("pass", []),
    "prints a handled one with the hook": (
        "import sys\ntry: {}['x']\nexcept KeyError: sys.excepthook(*sys.exc_info())\nsys.exit(3)",
        [],
    ),
    "sets another hook": (
        "import sys\nsys.excepthook = lambda *_: None\nraise ValueError('bad')",
        ["ValueError: bad"],
    ),
    "ends a thread": (
        "import sys, threading\n"
        "def f():\n  try: {}['x']\n  except KeyError: sys.exit(1)\n"
        "t = threading.Thread(target=f); t.start(); t.join()",
        [],
    ),
    "has no valid name": (
        "open('\\udcff')",
        ["FileNotFoundError: [Errno 2] No such file or directory: '\\udcff'"],
    ),
    "has a text that fails": (
        "class E(Exception):\n  def __str__(self): raise KeyError\nraise E",
        ["E: "],
    ),
    "never returns": ("def f(): f()\nf()", ["RecursionError: maximum recursion depth exceeded"]),
    "does not parse": ("import broken", ["SyntaxError: invalid syntax (broken.py, line 2)"]),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_the_end_of_a_program_is_recorded_and_stays_as_it_is(case: str, tmp_path: Path) -> None:
    program, expected = PROGRAMS[case]
    (tmp_path / "broken.py").write_text("x = 1\nx = = 2\n")
    plain = run(program, tmp_path, hooked=False)
    assert not records(tmp_path)
    hooked = run(program, tmp_path)
    assert (hooked.returncode, hooked.stdout) == (plain.returncode, plain.stdout)
    assert hooked.stderr == plain.stderr
    (record,) = records(tmp_path)
    said = []
    for raised in record["chain"]:
        said += [f"{raised['type']}: {raised['message']}", raised["link"]]
    assert said[:-1] == expected
    for raised in record["chain"]:
        assert all(Path(file).parent == tmp_path for file, _ in raised["frames"])
    if case == "does not parse":
        assert record["chain"][0]["frames"][-1] == [str(tmp_path / "broken.py"), 2]


def test_the_program_sees_neither_the_hook_nor_its_directory(tmp_path: Path) -> None:
    looks = "import sys, json; print(json.dumps([sys.path, 'sitecustomize' in sys.modules]))"
    outputs = [run(looks, tmp_path, hooked=hooked).stdout for hooked in (False, True)]
    assert outputs[0] == outputs[1]


def test_of_a_python_that_python_has_started_only_exceptions_are_recorded(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text("import sys\nif sys.argv[1:]: raise ValueError('child')\n")
    run("import subprocess, sys; subprocess.run([sys.executable, 'child.py'])", tmp_path)
    assert [record["chain"] for record in records(tmp_path)] == [[]]
    run("import subprocess, sys; subprocess.run([sys.executable, 'child.py', 'x'])", tmp_path)
    chains = sorted(len(record["chain"]) for record in records(tmp_path))
    assert chains == [0, 0, 1]


@pytest.mark.parametrize(
    "command",
    [
        ("sh", "-c", '"$@"; true', "sh"),
        (sys.executable, "-c", "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"),
    ],
)
def test_a_good_end_is_recorded_under_a_shell_and_in_place_of_a_python(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    run("import sys; sys.exit(3)", tmp_path, command=command)
    assert [record["exit"] for record in records(tmp_path)] == [3]


def test_a_program_that_a_signal_ends_records_nothing(tmp_path: Path) -> None:
    done = run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", tmp_path)
    assert done.returncode == -signal.SIGSEGV and not records(tmp_path)


def test_a_forked_process_has_a_record_of_its_own(tmp_path: Path) -> None:
    forks = "import os\nif os.fork() == 0: raise ValueError('forked')\nos.wait()\n"
    run(forks, tmp_path)
    assert sorted(len(record["chain"]) for record in records(tmp_path)) == [0, 1]


def test_a_record_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    program = "raise ValueError('bad')"
    plain = run(program, tmp_path, hooked=False)
    (tmp_path / "program.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(HOOK), EXCEPTIONS: f"0 {tmp_path}/no/such"}
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, plain.stderr)


def test_the_variable_is_the_one_that_a_worker_sets() -> None:
    assert VARIABLE == EXCEPTIONS and FROZEN_OF_THE_HOOK == FROZEN


def test_modules_that_do_not_come_from_the_copy_are_recorded(tmp_path: Path) -> None:
    """An installed version of the project's package, and what only the original directory has; nothing else."""
    project, copy, elsewhere = (tmp_path / name for name in ("project", "copy", "elsewhere"))
    environment = project / ".venv" / "lib" / "site-packages"
    for file in (
        *(copy / "pkg" / "__init__.py", copy / "right.py", copy / "numbers_like" / "data.txt"),
        *(elsewhere / "pkg" / "__init__.py", elsewhere / "numbers_like.py"),
        *(project / "generated.py", environment / "library.py"),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    path = os.pathsep.join(map(str, (elsewhere, copy, project, environment)))
    program = "import pkg, right, generated, library, numbers_like, json"
    run(program, tmp_path, PYTHONPATH=path, TRIDENT_FROZEN=f"{project}{os.pathsep}{copy}")
    (record,) = records(tmp_path)
    assert record["imported"] == {
        "pkg": f"{elsewhere}/pkg/__init__.py",
        "generated": f"{project}/generated.py",
    }
    # A project that contains the environment of Python and trident itself: none of theirs is the project's.
    everything = Path(os.path.commonpath([sys.prefix, HOOK, tmp_path]))
    run("import argparse, pip", elsewhere, TRIDENT_FROZEN=f"{everything}{os.pathsep}{copy}")
    for path_of_record in elsewhere.glob("record-*.json"):
        found = json.loads(path_of_record.read_text())["imported"]
        assert found.keys() <= {"__main__"}, found
        path_of_record.unlink()
    run(program, elsewhere, PYTHONPATH=path)  # not frozen
    (record,) = records(elsewhere)
    assert record["imported"] == {}


def test_an_exception_that_leads_to_itself_ends() -> None:
    one, two = ValueError("1"), ValueError("2")
    one.__cause__, two.__cause__ = two, one
    assert [raised["message"] for raised in describe(one)] == ["1", "2"]
