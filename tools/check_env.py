#!/usr/bin/env python3
"""List the packages of the environment: versions, what is wrong, and the command that fixes it.

    tools/venv/bin/python tools/check_env.py [--quiet]

Exit status 1 when a required package is missing, too old or does not load. Standard library only.
"""

import argparse
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # rnnt may not be installed

from rnnt.environment.packages import as_line, findings, gpus  # noqa: E402


def main(argv: "list[str] | None" = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quiet", action="store_true", help="print only what is wrong")
    args = parser.parse_args(argv)
    if not args.quiet:
        print(f"{platform.platform()}, {os.cpu_count()} cores, GPUs: {gpus()}")
    all_findings = findings()
    for finding in all_findings:
        if not args.quiet or not finding.ok:
            print(as_line(finding))
    return 0 if all(finding.ok for finding in all_findings) else 1


if __name__ == "__main__":
    sys.exit(main())
