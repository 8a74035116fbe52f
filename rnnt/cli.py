"""What every program does around its `main`: errors as one line, exit codes, quiet pipes."""

import functools
import os
import sys

from rnnt.errors import UserError


def program(main):
    """Decorate `main(argv=None)` of a program.

    A `UserError` becomes one line on stderr and exit status 1, an interrupt status 130, a closed pipe status 0.
    Everything else keeps its traceback: it is a defect of ours.
    """

    @functools.wraps(main)
    def run(argv=None):
        name = os.path.basename(sys.argv[0]) or main.__module__
        try:
            return main(argv)
        except UserError as error:
            print(f"{name}: error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print(f"{name}: interrupted", file=sys.stderr)
            raise SystemExit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None

    return run
