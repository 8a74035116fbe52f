"""Names the sets that a training takes, as assignments for the shell: train_set and dev_set.

Those that are not given are the first sets whose names begin with train and dev.
"""

import shlex
from dataclasses import dataclass

from rnnt.cli import program
from rnnt.options import make_parser, option, parse
from rnnt.prepare.config import SetOptions, first_set, resolve_sets


@dataclass(frozen=True)
class ChoiceOptions(SetOptions):
    """Sets."""

    dev_set: str = option("", "set to measure after each epoch (default: the first whose name begins with dev)")
    manifest_dir: str = option("data/manifests", "folder of the list of sets (stage 1)")


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, ChoiceOptions), [ChoiceOptions], argv)
    for prefix, name in (("train", options.train_set), ("dev", options.dev_set)):
        name = name or first_set(prefix, resolve_sets(options, options.manifest_dir))
        print(f"{prefix}_set={shlex.quote(name)}")


if __name__ == "__main__":
    main()
