"""How far the words of align.py are from where they are, on connected digits, whose recipe joins known recordings.

    align.py --exp-dir exp/zipformer --sets test                     (in egs/digits/ASR, after run.sh)
    python3 $RNNT_ROOT/benchmarks/alignment.py exp/zipformer/align_ctc/test

A word begins where its recording begins; the pauses between the recordings are those that the recipe drew.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

RECIPE = Path(__file__).parents[1] / "egs" / "digits" / "ASR"


def true_words(name, corpus):
    """{utterance: [(word, start, end)]} of a set, in seconds; `corpus`: data/corpus of the recipe."""
    sys.path.insert(0, str(RECIPE / "local"))
    import make_manifests as recipe

    source = json.loads((corpus / "source.json").read_text())
    recordings, _ = recipe.read_recordings(source["path"])
    plans = recipe.plan_all(list(recordings), set(source["held_out_speakers"]), recipe.ManifestOptions())
    found = {}
    for plan in plans[name]:
        at, words = 0, []
        for gap, key in zip(plan.gaps, plan.parts):
            start = at + gap
            at = start + recordings[key].num_samples
            words.append((recipe.WORDS[key[0]], start / recipe.SAMPLING_RATE, at / recipe.SAMPLING_RATE))
        found[plan.id] = words
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path, help="align_<ctc or transducer>/<set>")
    parser.add_argument("--corpus", type=Path, default=Path("data/corpus"), help="of the recipe (default: data/corpus)")
    args = parser.parse_args()
    print(f"{'':<40} words  start: median  90 %   bias    end: median  90 %   bias  (ms)")
    for folder in args.folders:
        truth = true_words(folder.name, args.corpus)
        errors = {"start": [], "end": []}
        for line in (folder / "alignments.jsonl").read_text().splitlines():
            utterance = json.loads(line)
            for word, (text, start, end) in zip(utterance["words"], truth[utterance["id"]], strict=True):
                assert word["word"] == text, (utterance["id"], word, text)
                errors["start"].append(1000 * (word["start"] - start))
                errors["end"].append(1000 * (word["end"] - end))
        row = f"{'/'.join(folder.parts[-2:]):<40} {len(errors['start']):>5}"
        for values in errors.values():
            size = sorted(map(abs, values))
            row += (
                f" {statistics.median(size):>14.0f} {size[len(size) * 9 // 10]:>5.0f} {statistics.median(values):>6.0f}"
            )
        print(row)


if __name__ == "__main__":
    main()
