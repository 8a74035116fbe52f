"""Exported language models: in onnxruntime as in PyTorch, and in stock sherpa-onnx."""

import pytest
import torch

from rnnt.checkpoints import export
from rnnt.checkpoints.config import ExportConfig, Selection
from rnnt.checkpoints.language_model import TrainedLanguageModel, write_language_model
from rnnt.checkpoints.onnx import language_model as graphs
from rnnt.checkpoints.onnx import write
from rnnt.errors import UserError
from rnnt.model.language.base import make_language_model
from rnnt.model.language.config import LanguageModelConfig
from rnnt.options import make
from rnnt.search import search
from rnnt.search.config import SearchConfig
from rnnt.text.tokenizer import Tokenizer

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

KINDS = {
    "lstm": {"layers": 2},
    "transformer": {"model": "transformer", "layers": 2, "heads": 2, "feedforward_dim": 8, "context": 5},
}


@pytest.fixture
def make_trained(toy):
    tokenizer = Tokenizer.load(toy / "bpe.model")

    def make_one(kind):
        torch.manual_seed(0)
        config = make(LanguageModelConfig, dim=8, vocab_size=tokenizer.vocab_size, boundary_id=1, **KINDS[kind])
        network = make_language_model(config).eval()
        with torch.no_grad():
            network.output.bias.normal_(std=3)
        return TrainedLanguageModel(network, config, tokenizer, "made")

    return make_one


@pytest.mark.parametrize("kind", KINDS)
def test_the_program_writes_graphs_that_were_compared(make_trained, tmp_path, capsys, kind):
    write_language_model(tmp_path / "lm", make_trained(kind), {})
    export.export(ExportConfig(out=str(tmp_path / "x"), format="onnx", exp_dir=str(tmp_path / "lm")), Selection())
    assert "onnxruntime and PyTorch agree within" in capsys.readouterr().out
    expected = {"bpe.model", "lm.onnx", *(["lm-streaming.onnx"] if kind == "lstm" else [])}
    assert {path.name for path in (tmp_path / "x").iterdir()} == expected
    with pytest.raises(UserError, match="are of recognisers"):
        config = ExportConfig(out=str(tmp_path / "y"), format="onnx", exp_dir=str(tmp_path / "lm"), quantize="int8")
        export.export(config, Selection())


@pytest.mark.parametrize("wrong", ["WholeGraph", "StepGraph"])
def test_a_wrong_graph_is_not_left(make_trained, tmp_path, monkeypatch, wrong):
    right = getattr(graphs, wrong)
    monkeypatch.setattr(graphs, wrong, lambda network, order: right(network, order[::-1]))
    with pytest.raises(UserError, match="onnxruntime differs from PyTorch by .*; nothing is kept"):
        graphs.write_onnx_lm(tmp_path / "x", make_trained("lstm"))
    assert not (tmp_path / "x").exists()


def test_sherpa_onnx_takes_the_text_that_the_sum_of_both_prefers(
    toy, make_trained, tmp_path, random_model, random_sounds
):
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    from rnnt.data.fbank import make_extractor

    model, lm = random_model(toy / "bpe.model", encoder="lstm"), make_trained("lstm")
    with torch.no_grad():
        model.network.joiner.output.weight.mul_(0.5)
    write.write_onnx(tmp_path / "m", model, {})
    graphs.write_onnx_lm(tmp_path / "lm", lm)
    samples, extractor, scale = random_sounds(6), make_extractor(model.features), 1.5
    recognizer = sherpa_onnx.OfflineRecognizer.from_transducer(
        *(str(tmp_path / "m" / f"{name}.onnx") for name in ("encoder", "decoder", "joiner")),
        str(tmp_path / "m" / "tokens.txt"), num_threads=1, sample_rate=8000, feature_dim=24,
        decoding_method="modified_beam_search", lm=str(tmp_path / "lm" / "lm.onnx"), lm_scale=scale,
    )  # fmt: skip
    same = changed = 0
    for sound in samples:
        stream = recognizer.create_stream()
        stream.accept_waveform(8000, sound)
        recognizer.decode_stream(stream)
        x_BTF = torch.from_numpy(extractor.extract(sound))[None]
        config = SearchConfig("modified_beam_search", beam_size=4, nbest=4, length_norm=False)
        with torch.no_grad():
            [nbest] = search(model.network, *model.network.encode(x_BTF, torch.tensor([x_BTF.shape[1]])), config)

            def total(h, scale=scale):
                scores = lm.network.token_scores(torch.tensor([h.tokens]), torch.tensor([len(h.tokens)]))
                return (h.score + scale * float(scores.sum())) / (len(h.tokens) + 2)

            best = max(nbest, key=total)
            changed += best is not max(nbest, key=lambda h: total(h, 0.0))
        found = [token.replace(" ", "\u2581") for token in stream.result.tokens]
        same += found == [model.tokenizer.tokens[i] for i in best.tokens]
    assert changed >= 2 and same >= len(samples) - 1
