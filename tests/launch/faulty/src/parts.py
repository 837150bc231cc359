"""What the program is made of, and how each part fails."""

import json
import os
import signal
import sys
import traceback


class Label:
    def __init__(self, name: str) -> None:
        if name == "huge":
            self.buffer = bytearray(2**60)
        raise ValueError(f"\n\x1b[31munknown\x1b[0m label\n'{name}'\n\nmore to say")


class Noisy:
    def __del__(self) -> None:
        raise RuntimeError("in a destructor")


def read(path: str) -> None:
    try:
        json.loads(path)
    except ValueError as error:
        raise RuntimeError("cannot read the labels") from error


def handled() -> None:
    try:
        read("{")
    except RuntimeError:
        traceback.print_exc()
    sys.stderr.write("error: no labels\n")
    sys.exit(3)


def noisy() -> None:
    noisy = Noisy()
    noisy.itself = noisy  # type: ignore[attr-defined]  # it is freed when the interpreter ends
    raise ExceptionGroup("several", [KeyError("first"), KeyError("second")])


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
