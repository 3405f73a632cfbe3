"""The `resnet-export` command line: a family of commands, one manner of failing.

An expected failure is one line on standard error and an exit code of its own (see `export.errors`); a traceback
is a defect of ours.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from export.commands import COMMANDS, DEFAULT
from export.errors import ExportError

PROGRAM = "resnet-export"


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived: unwind, so that whatever cleans up after itself does."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code.

    Args:
        argv: The arguments after the program's name; None takes the process's.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments.pop(0) if arguments and arguments[0] in COMMANDS else DEFAULT
    module = importlib.import_module(COMMANDS[command])
    parser = argparse.ArgumentParser(
        prog=PROGRAM if command == DEFAULT else f"{PROGRAM} {command}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.configure(parser)
    parsed = parser.parse_args(arguments)
    try:
        with _stoppable():
            module.run(parsed)
    except ExportError as error:
        # A library's message inside ours may have lines of its own.
        print(f"{PROGRAM}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except Stopped as stopped:
        name = signal.Signals(stopped.number).name
        print(f"{PROGRAM}: stopped by {name}; no half-written artefact is left behind", file=sys.stderr)
        return 128 + stopped.number
    return 0


@contextmanager
def _stoppable() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
