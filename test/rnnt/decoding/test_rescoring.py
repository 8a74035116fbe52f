"""rescore.py: n-best lists that are made by hand, ranked anew by scores from scratch."""

import itertools
import json

import pytest
import torch

from rnnt.checkpoints.language_model import TrainedLanguageModel, write_language_model
from rnnt.decoding.rescoring.program import main
from rnnt.decoding.rescoring.scores import neural_scores
from rnnt.model.language.base import make_language_model
from rnnt.model.language.config import LanguageModelConfig
from rnnt.options import make
from rnnt.scoring import score
from rnnt.scoring.results_dir import read_utterances, write_results_dir
from rnnt.scoring.transcripts import read_trn
from rnnt.text.ngram import estimate, read_arpa, write_arpa
from rnnt.text.tokenizer import Tokenizer

LISTS = {
    "a": [("one two", -1.0), ("one three", -1.1), ("one", -1.2), ("", -4.0)],
    "b": [("three three", -2.0), ("three", -2.2), ("three three two", -2.1)],
    "c": [("two", -0.5)],
}
REFS = {"a": "one three", "b": "three", "c": "two"}


@pytest.fixture
def tokenizer(toy):
    return Tokenizer.load(toy / "bpe.model")


@pytest.fixture
def decode(tmp_path, tokenizer):
    """A decode with the sets dev and test, with all lists and without one."""
    folder = tmp_path / "exp" / "decode_modified_beam_search_nbest-4"
    for name, keys in (("dev", "abc"), ("test", "ac")):
        utterances = []
        for key in keys:
            nbest = [
                {
                    "score": value,
                    "text": text,
                    "tokens": [tokenizer.tokens[i] for i in tokenizer.encode(text)],
                    "words": [
                        {"word": word, "start": n, "end": n + 1, "confidence": 0.5}
                        for n, word in enumerate(text.split())
                    ],
                }
                for text, value in LISTS[key]
            ]
            first = {"id": key, "speaker": None, "seconds": 1.0, "audio": [], **nbest[0]}
            del first["text"], first["tokens"]
            utterances.append({**first, **({"nbest": nbest} if len(nbest) > 1 else {})})
        report = score({k: REFS[k] for k in keys}, {k: LISTS[k][0][0] for k in keys}, "word", {})
        summary = {
            "set": name, "checkpoint": "epoch-1-avg-1", "device": "cpu", "threads": 1, "audio_seconds": 3.0,
            "decoding_seconds": 1.0, "rtf": 0.333, "search": {"length_norm": False}, "fusion": {},
        }  # fmt: skip
        write_results_dir(folder / name, report, utterances, summary)
    return folder


@pytest.fixture
def models(tmp_path, tokenizer):
    """A neural model and a bigram: their paths, and what each says of a text."""
    torch.manual_seed(0)
    config = make(LanguageModelConfig, dim=8, layers=1, vocab_size=tokenizer.vocab_size, boundary_id=1)
    network = make_language_model(config).eval()
    with torch.no_grad():
        network.output.bias.normal_(std=2)
    write_language_model(tmp_path / "lm", TrainedLanguageModel(network, config, tokenizer, "made"), {})
    arpa = tmp_path / "2gram.arpa"
    texts = [[tokenizer.tokens[i] for i in tokenizer.encode(text)] for text in ("three two", "three")]
    write_arpa(estimate(texts, 2, [token for token in tokenizer.tokens if token[0] != "<"]), arpa)

    def neural(text):
        ids = tokenizer.encode(text)
        logp_UV = network(torch.tensor([ids], dtype=torch.int64))[0].log_softmax(1).detach()
        return sum(float(logp_UV[u, token]) for u, token in enumerate([*ids, 1]))

    def bigram(text):
        return read_arpa(arpa).score([tokenizer.tokens[i] for i in tokenizer.encode(text)])

    words = tmp_path / "word-2gram.arpa"
    write_arpa(estimate([text.split() for text in ("three two", "one three", "three")], 2), words)
    by_words = lambda text: read_arpa(words).score(text.split())  # noqa: E731
    return {"nn_lm": (str(tmp_path / "lm"), neural), "lm": (str(arpa), bigram), "word_lm": (str(words), by_words)}


def expected(models, tokenizer, key, weights, length_norm):
    """[(score, text)] of an utterance, the best first."""
    scored = [(value + sum(w * models[m][1](text) for m, w in weights.items()), text) for text, value in LISTS[key]]
    length = (lambda text: len(tokenizer.encode(text)) + 1) if length_norm else lambda text: 1
    return sorted(scored, key=lambda pair: -pair[0] / length(pair[1]))


@pytest.mark.parametrize("length_norm", [False, True])
@pytest.mark.parametrize("names", [("nn_lm",), ("lm",), ("word_lm",), ("nn_lm", "lm")], ids="+".join)
def test_ranks_by_the_score_of_the_whole_text(decode, models, tokenizer, names, length_norm):
    weights = {"nn_lm": 0.4, "lm": 0.3, "word_lm": 0.3}
    words = [word for name in names for word in (f"--{name.replace('_', '-')}", models[name][0])]
    words += ["--lm-scale", "0.3", *(["--nn-lm-scale", "0.4"] if "nn_lm" in names else [])]
    main(["--decode-dir", str(decode), "--length-norm", str(length_norm), *words, "--device", "cpu"])
    (folder,) = decode.parent.glob("*_rescored_*")
    found = {utterance["id"]: utterance for utterance in read_utterances(folder / "dev")}
    for key in "ab":
        want = expected(models, tokenizer, key, {name: weights[name] for name in names}, length_norm)
        nbest = found[key]["nbest"]
        assert [h["text"] for h in nbest] == [text for _, text in want]
        assert [h["score"] for h in nbest] == pytest.approx([value for value, _ in want], abs=1e-3)
        assert [w["word"] for w in found[key]["words"]] == want[0][1].split() and found[key]["score"] == nbest[0][
            "score"
        ]
    assert found["c"]["score"] == -0.5 and "nbest" not in found["c"]
    hyps = read_trn(folder / "dev" / "hyp.trn")
    assert hyps == {key: found[key]["nbest"][0]["text"] if key != "c" else "two" for key in "abc"}
    summary = json.loads((folder / "dev" / "summary.json").read_text())
    assert summary["wer"] == pytest.approx(score(REFS, hyps).wer, abs=1e-3)
    assert summary["rescoring"]["length_norm"] is length_norm and (folder / "test" / "summary.json").is_file()


def test_without_weight_the_decode_stays_as_it_is(decode, models):
    main(["--decode-dir", str(decode), "--nn-lm", models["nn_lm"][0], "--lm-scale", "0", "--sets", "dev"])
    (folder,) = decode.parent.glob("*_rescored_*")
    assert (folder / "dev" / "hyp.trn").read_text() == (decode / "dev" / "hyp.trn").read_text()
    assert not (folder / "test").exists()


def test_weights_are_tuned_on_one_set_for_all(decode, models, tokenizer, capsys):
    values = {"nn-lm-scale": ["0", "0.2", "2"], "lm-scale": ["0", "0.5"]}
    grid = [f"{name}={','.join(some)}" for name, some in values.items()]
    words = ["--nn-lm", models["nn_lm"][0], "--lm", models["lm"][0]]
    main(["--decode-dir", str(decode), "--tune-set", "dev", "--grid", *grid, *words])
    wers = {}
    for pair in itertools.product(*values.values()):
        weights = dict(zip(("nn_lm", "lm"), map(float, pair)))
        hyps = {key: expected(models, tokenizer, key, weights, False)[0][1] for key in "abc"}
        wers[pair] = score(REFS, hyps).wer
    assert len(set(wers.values())) > 1
    (table,) = (decode.parent / "tuning").glob("*.txt")
    rows = [line.split() for line in table.read_text().splitlines()[2:]]
    assert {tuple(row[:2]): float(row[2]) for row in rows} == pytest.approx(wers, abs=0.01)
    best = next(row for row in rows if row[-1] == "best")
    assert wers[tuple(best[:2])] == min(wers.values())
    assert table.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert f"best: --nn-lm-scale={best[0]} --lm-scale={best[1]}" in capsys.readouterr().out
    for name in ("dev", "test"):
        (path,) = decode.parent.glob(f"*_rescored_*/{name}/summary.json")
        assert json.loads(path.read_text())["rescoring"]["nn_lm_scale"] == float(best[0])


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([*map(str, words)])
    assert stop.value.code in (1, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_refusals(decode, models, tmp_path, capsys):
    lm = ["--nn-lm", models["nn_lm"][0]]
    before = sorted(decode.parent.rglob("*"))
    assert "no decoded set in it" in refused(capsys, "--decode-dir", tmp_path, *lm)
    assert "no language model is given" in refused(capsys, "--decode-dir", decode)
    assert "hotwords are for the search" in refused(capsys, "--decode-dir", decode, *lm, "--context-file", "x")
    assert "--grid needs --tune-set" in refused(capsys, "--decode-dir", decode, *lm, "--grid", "lm-scale=1")
    tune = ["--decode-dir", decode, *lm, "--tune-set", "dev", "--grid"]
    assert "--grid lm-scale=1: expected the weight of a model that is given" in refused(capsys, *tune, "lm-scale=1")
    assert "a weight is not a number" in refused(capsys, *tune, "nn-lm-scale=1,x")
    assert "a weight is not a number" in refused(capsys, *tune, "nn-lm-scale=nan")
    assert sorted(path for path in decode.parent.rglob("*") if path.is_file()) == [p for p in before if p.is_file()]
    path = decode / "dev" / "utterances.jsonl"
    text = path.read_text()
    path.write_text(text.replace('"tokens"', '"others"'))
    assert "an earlier version made them" in refused(capsys, "--decode-dir", decode, *lm)
    path.write_text(text.replace('"nbest"', '"others"'))
    assert "no n-best lists in it" in refused(capsys, "--decode-dir", decode, *lm)


def test_a_model_over_other_tokens_is_refused(decode, models, tmp_path, capsys):
    arpa = tmp_path / "other.arpa"
    write_arpa(estimate([["x", "y"]], 2), arpa)
    assert "knows no token" in refused(capsys, "--decode-dir", decode, "--lm", arpa)


def test_neural_scores_do_not_depend_on_the_other_texts(monkeypatch):
    torch.manual_seed(0)
    network = make_language_model(make(LanguageModelConfig, dim=8, layers=1, vocab_size=9, boundary_id=1)).eval()
    texts = [[2, 3, 4], [], [5] * 7, [8], [2, 3, 4]]
    device = torch.device("cpu")
    alone = [neural_scores(network, [text], device)[0] for text in texts]
    assert neural_scores(network, texts, device) == pytest.approx(alone, abs=1e-5)
    monkeypatch.setattr("rnnt.decoding.rescoring.scores.TOKENS_AT_ONCE", 8)
    assert neural_scores(network, texts, device) == pytest.approx(alone, abs=1e-5)
    logp_V = network(torch.zeros(1, 0, dtype=torch.int64))[0, 0].log_softmax(0)
    assert alone[1] == pytest.approx(float(logp_V[1].detach()), abs=1e-5)
