"""LibriSpeech from a corpus in its layout to the table: some chapters, a small model, a short training.

The error rates mean nothing; the table and the files are what counts.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnnt.scoring.results_dir import read_utterances

CHAPTERS = {
    "train-mini": ["1993/147966", "2803/154320"],
    "dev-mini": ["1272/128104"],
    "test-mini": ["652/130737"],
}
MODEL = "--encoder-dim 32 --encoder-layers 1 --joiner-dim 32 --predictor-dim 32 --threads 1 --max-duration 60"


@pytest.fixture
def corpus(tmp_path):
    """The folder with LibriSpeech/ below it."""
    script = Path(os.environ.get("RNNT_TEST_DATA", "/none")) / "make_librispeech_mini.py"
    if not script.is_file():
        pytest.skip("no mini corpus: RNNT_TEST_DATA")
    source = tmp_path / "source"
    for name in [f"librispeech_mini/{part}/{chapter}" for part, chapters in CHAPTERS.items() for chapter in chapters]:
        shutil.copytree(script.parent / name, source / name)
    shutil.copy(script, source)
    subprocess.run([sys.executable, source / script.name, tmp_path / "corpus"], check=True, capture_output=True)
    return tmp_path / "corpus"


@pytest.mark.slow
def test_from_the_corpus_to_the_table(copy_recipe, corpus):
    recipe = copy_recipe("librispeech")
    # At 80 ms per encoder frame, some utterances would have more of these short tokens than frames.
    config = recipe / "conf/small.yaml"
    config.write_text(config.read_text().replace("subsampling_factor: 8", "subsampling_factor: 4"))
    command = [
        recipe / "run.sh",
        *("--dl-dir", corpus, "--parts", "train-mini dev-mini test-mini", "--nj", "1", "--vocab-size", "60 40"),
        *("--ngram-order", "2 5", "--config", "conf/small.yaml", "--train-opts", f"--num-epochs 2 {MODEL}"),
        *("--decode-methods", "greedy_search modified_beam_search", "--decode-nj", "2", "--decode-opts"),
        # A model that has hardly begun to learn may babble at every frame.
        "--max-sym-per-frame 1",
    ]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    for name in ("report.txt", "statistics.txt", "statistics.json", "durations.png", "speakers.png"):
        assert (recipe / "data/cuts" / name).stat().st_size
    for name in ("data/lang_bpe_60/2gram.arpa", "data/lang_bpe_60/5gram.arpa", "data/lang_bpe_40/5gram.arpa"):
        assert (recipe / name).is_file()
    for method in ("greedy_search", "modified_beam_search"):
        for name in ("dev-mini", "test-mini"):
            (folder,) = (recipe / "exp/small").glob(f"decode_{method}*/{name}")
            summary = json.loads((folder / "summary.json").read_text())
            speaker, chapter = CHAPTERS[name][0].split("/")
            (trans,) = (corpus / "LibriSpeech" / name / speaker / chapter).glob("*.trans.txt")
            words = [line.split()[1:] for line in trans.read_text().splitlines()]
            assert (summary["sentences"], summary["words"]) == (len(words), sum(map(len, words)))
            assert (folder / "wer").read_text().splitlines()[1].startswith(f"%CER {summary['cer']:.2f} [ ")
            assert all(utterance["audio"][0].endswith(".flac") for utterance in read_utterances(folder))
            assert not (folder / "parts").exists()
    table = result.stdout[result.stdout.rindex("\nset ") :].strip().splitlines()
    assert "%WER" in table[0] and "%CER" in table[0] and len(table) == 8
