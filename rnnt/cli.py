"""What every program does around its `main`: errors as one line, exit codes, quiet pipes; part K of N of its work."""

import contextlib
import faulthandler
import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from rnnt.errors import UserError, one_line

Result = TypeVar("Result")


def use_signal_stack() -> None:
    """Let handlers of signals run on a stack of their own, from now on.

    Code that oneDNN generates, of torch's LSTM among others, uses the stack pointer for data while it computes. A
    handler on the stack of the thread, as Python's are by themselves, would then overwrite the heap.
    """
    if not faulthandler.is_enabled():
        faulthandler.enable(2)  # it makes that stack; and should the program crash, it says where


def share_cores() -> None:
    """Let threads of torch that wait for each other sleep soon, unless the environment says how long they spin.

    GNU's OpenMP lets them spin for milliseconds. Where another process wants the core, the thread that all wait for
    does not get it meanwhile: two threads can then be slower than one. Works before torch is loaded, and in children.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"  # some ten microseconds, longer than most waits on cores that are free


def program(main: Callable[..., Result]) -> Callable[..., Result]:
    """Decorate `main(argv=None, ...)` of a program.

    A `UserError`, and what the system says of a file or of standard output, becomes one line on stderr and exit
    status 1, an interrupt status 130, a closed pipe status 0. Everything else keeps its traceback: it is a defect of
    the program.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None, **keywords: Any) -> Result:
        name = os.path.basename(sys.argv[0]) or main.__module__
        use_signal_stack()
        share_cores()
        try:
            return _complete(main, argv, keywords)
        except UserError as error:
            _fail(name, str(error))
        except KeyboardInterrupt:
            print(f"{name}: interrupted", file=sys.stderr)
            raise SystemExit(130) from None
        except BrokenPipeError:
            _drop_output()
            raise SystemExit(0) from None
        except OSError as error:
            if error.filename is None:
                _drop_output()
            place = "standard output" if error.filename is None else os.fsdecode(error.filename)
            _fail(name, f"{place}: {error.strerror or one_line(error)}")

    return run


def _complete(main: Callable[..., Result], argv: Sequence[str] | None, keywords: dict[str, Any]) -> Result:
    """Run a program to the last word of its output."""
    try:
        result = main(argv, **keywords)
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return result


def _fail(name: str, message: str) -> NoReturn:
    text = " ".join(message.splitlines()).encode("utf-8", "backslashreplace").decode()
    print(f"{name}: error: {text}", file=sys.stderr)
    raise SystemExit(1) from None


def _drop_output() -> None:
    """What can't be written is not tried again at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parse_split(text: str) -> tuple[int, int]:
    """Part K of N of an array of jobs: `K/N` as two numbers, (1, 1) for an empty text; raises ValueError."""
    found = re.fullmatch(r"(\d+)/(\d+)", text or "1/1", re.ASCII)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"--split is K/N, such as 1/4, not {text!r}")
    return int(found[1]), int(found[2])
