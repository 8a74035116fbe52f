"""Decodes a dev set with every combination of some options of decode.py, and shows which is best.

    tune_decoding.py --exp-dir exp/mine --set dev \\
      --options lm-scale=0,0.1,0.2,0.3 ngram-lm-scale=-0.2,-0.1 \\
      --decode-opts "--lm big-3gram.arpa --lodr-lm 2gram.arpa --avg 5"

Each combination has a folder of its own, as always with decode.py; those that are newer than the model are kept. The
table goes to <exp-dir>/tuning/<set>-<options>_<others>.txt, with the other options that are not at their defaults, and
for one or two options a picture beside it (.png).
"""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path

from rnnt.cli import program
from rnnt.data.sets.config import FetchConfig
from rnnt.decoding.settings import DECODE_OPTIONS, parse_settings
from rnnt.files import read_json
from rnnt.options import make_parser, option, parse
from rnnt.prepare.recipe.stages import is_decoded, mark_done

HOW_IT_RUNS = {"exp_dir", "decode_sets", "split", "merge", "device", "threads", *(f.name for f in fields(FetchConfig))}


@dataclass(frozen=True)
class TuningOptions:
    """Tuning."""

    exp_dir: str = option("exp/train", "experiment folder")
    set: str = option("dev", "set to decode; not the one that results are reported on")
    options: list[str] = option(
        ["lm-scale=0,0.1,0.2,0.3,0.4"], "NAME=VALUE,VALUE,... of options of decode.py; all combinations", nonempty=True
    )
    decode_opts: str = option("", "other options of decode.py")


def known_options() -> set[str]:
    """The options of decode.py that change what it finds, by the names of their fields."""
    return {f.name for cls in DECODE_OPTIONS for f in fields(cls)} - HOW_IT_RUNS


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, TuningOptions), [TuningOptions], argv)

    from rnnt.decoding.tuning import combinations, parse_grid, write_grid

    grid = parse_grid(options.options, known_options(), "--options {word}: expected an option of decode.py")
    common = ["--exp-dir", options.exp_dir, "--decode-sets", options.set, *shlex.split(options.decode_opts)]
    tried = combinations(grid)
    commands = [[*common, *(f"--{name}={value}" for name, value in chosen.items())] for chosen in tried]
    all_settings = [parse_settings(command) for command in commands]  # all are valid before the first is decoded
    folders = [settings.folder() for settings in all_settings]

    from rnnt.decoding.run import decode

    rows = []
    for number, (settings, folder, chosen) in enumerate(zip(all_settings, folders, tried), 1):
        shown = ", ".join(f"{name} {value}" for name, value in chosen.items())
        key = f"{settings}\n"
        if is_decoded(folder, [options.set], key):
            print(f"{number}/{len(commands)} {shown}: newer than the model, kept", flush=True)
        else:
            print(f"{number}/{len(commands)} {shown}", flush=True)
            decode(settings)
            mark_done(folder / ".done", key)
        rows.append({**chosen, **read_json(folder / options.set / "summary.json")})

    label = all_settings[0].label_without({name.replace("-", "_") for name in grid})
    write_grid(rows, grid, Path(options.exp_dir) / "tuning" / f"{options.set}-{'-'.join(grid)}_{label}.txt")


if __name__ == "__main__":
    main()
