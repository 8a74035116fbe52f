"""Lists the programs, what is installed and where the documentation is."""

import argparse
import importlib
import sys

from rnnt import __version__
from rnnt.cli import program
from rnnt.environment.packages import ROOT, as_line, findings

PROGRAMS = {
    "train.py": "rnnt.train",
    "train_lm.py": "rnnt.training.language.program",
    "elastic.py": "rnnt.distributed.elastic",
    "decode.py": "rnnt.decode",
    "rescore.py": "rnnt.decoding.rescoring.program",
    "report.py": "rnnt.reporting.program",
    "align.py": "rnnt.alignment.program",
    "score.py": "rnnt.score",
    "export_model.py": "rnnt.export_model",
    "import_icefall.py": "rnnt.icefall_import",
    "transcribe.py": "rnnt.transcribe",
    "serve.py": "rnnt.transcription.serve",
}


def summary(module: str) -> str:
    """The first sentence of the docstring of a program."""
    text = importlib.import_module(module).__doc__ or ""
    return text.partition(".\n")[0].replace("\n", " ").strip().removesuffix(".")


def overview() -> str:
    """What `rnnt` prints."""
    docs = ROOT / "docs" / "index.md"
    lines = [f"rnnt {__version__}: training and decoding of RNN-T (transducer) speech recognisers", ""]
    lines += ["Programs; --help of each lists its options:"]
    lines += [f"    {name:<17} {summary(module)}" for name, module in PROGRAMS.items()]
    lines += ["", "Installed (tools/check_env.py of a checkout also tries whether it loads):"]
    lines += [as_line(finding) for finding in findings(load=False)]
    lines += ["", f"Recipes:       {ROOT / 'egs' if docs.is_file() else 'egs/ of a checkout'}"]
    lines += [f"Documentation: {docs if docs.is_file() else 'docs/index.md of a checkout'}"]
    return "\n".join(lines)


@program
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("rnnt", description=__doc__, allow_abbrev=False, add_help=False)
    parser.add_argument("-h", "--help", action="store_true", help="the same as without options")
    parser.add_argument("--version", action="version", version=f"rnnt {__version__}")
    parser.parse_args(sys.argv[1:] if argv is None else argv)
    print(overview())


if __name__ == "__main__":
    main()
