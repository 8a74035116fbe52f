"""What a recogniser scores that has learnt nothing of the audio: two figures to hold a result against.

    cd egs/<corpus>/ASR && . ./path.sh && python $RNNT_ROOT/benchmarks/chance.py --test-set test

1. The constant answer: the N most frequent words of the training set, said of every utterance. N is the best one for
   the training set itself. Printed.
2. The same training on shuffled transcripts: the copy of the manifests in `--shuffled`, in which the training
   utterances have swapped their texts at random (copies of an utterance at other speeds keep together). Train on it
   with the options of the real training, and `--manifest-dir` set to that folder.
"""

import json
import random
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.files import atomic_folder
from rnnt.options import make_parser, option, parse

MOST_WORDS = 10


@dataclass(frozen=True)
class ChanceConfig:
    """Chance level."""

    manifest_dir: str = option("data/cuts", "folder of stage 6")
    train_set: str = option("train", "set that is trained on")
    test_set: str = option("test", "set that is scored")
    shuffled: str = option("data/cuts-shuffled", "folder for the manifests with shuffled transcripts")
    seed: int = option(0, "seed of the shuffling", minimum=0)


def read_cuts(path):
    """The cuts of a manifest as dictionaries."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def texts_by_id(cuts):
    """`{cut id: text}`."""
    return {cut["id"]: cut["supervisions"][0]["text"] for cut in cuts}


def best_constant(texts):
    """The answer, of the 1 to 10 most frequent words, with the lowest WER on `texts` ({id: text})."""
    words = [word for word, _ in Counter(w for text in texts.values() for w in text.split()).most_common(MOST_WORDS)]
    return min((" ".join(words[:n]) for n in range(1, len(words) + 1)), key=lambda answer: wer(texts, answer))


def wer(texts, answer):
    """WER in percent of one answer given to every utterance."""
    from rnnt.scoring import score

    return score(texts, dict.fromkeys(texts, answer)).wer


def shuffle(cuts, seed):
    """Give each utterance the text of another one, in place; its copies at other speeds get the same."""
    originals = sorted({original_id(cut["id"]) for cut in cuts})
    texts = {original_id(cut["id"]): cut["supervisions"][0]["text"] for cut in cuts}
    others = list(originals)
    random.Random(seed).shuffle(others)
    swapped = {name: texts[other] for name, other in zip(originals, others, strict=True)}
    for cut in cuts:
        cut["supervisions"][0]["text"] = swapped[original_id(cut["id"])]


def original_id(name):
    """The id of an utterance without lhotse's mark of a changed speed."""
    return re.sub(r"_sp[\d.]+$", "", name)


@program
def main(argv=None):
    (config,), _ = parse(make_parser(__doc__, ChanceConfig), [ChanceConfig], argv)
    folder = Path(config.manifest_dir)
    cuts = read_cuts(folder / f"{config.train_set}.jsonl")
    answer = best_constant({k: v for k, v in texts_by_id(cuts).items() if k == original_id(k)})
    test = texts_by_id(read_cuts(folder / f"{config.test_set}.jsonl"))
    print(f"{config.test_set}: always answering {answer!r}: WER {wer(test, answer):.2f} %")
    shuffle(cuts, config.seed)
    with atomic_folder(config.shuffled) as temporary:
        for path in folder.iterdir():
            if path.suffix in (".json", ".jsonl") and not path.name.startswith("."):
                shutil.copy(path, temporary)
        with open(temporary / f"{config.train_set}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(cut, ensure_ascii=False) + "\n" for cut in cuts)
    print(f"{config.shuffled}: manifests with shuffled transcripts")


if __name__ == "__main__":
    main()
