"""A set of made recordings with cuts, for the tests of data and preparation."""

import json

import numpy as np
import pytest

RATE = 8000


def made_cuts(folder, number=6, rate=RATE, seed=0):
    """`number` cuts of half a second and more of noise, with text, over WAV files in `folder`."""
    from lhotse import Recording, SupervisionSegment

    from rnnt.data.audio import write_audio

    generator = np.random.default_rng(seed)
    cuts = []
    for i in range(number):
        path = folder / f"utt-{seed}-{i}.wav"
        write_audio(path, 0.1 * generator.standard_normal(rate // 2 + 997 * i).astype(np.float32), rate)
        cut = Recording.from_file(path).to_cut()
        cut.id = f"utt-{seed}-{i}"
        cut.supervisions = [SupervisionSegment(cut.id, cut.recording_id, 0.0, cut.duration, text="one two")]
        cuts.append(cut)
    return cuts


@pytest.fixture
def audio_set(tmp_path):
    """A folder with on-the-fly cuts as stage 6 leaves them: train.jsonl and features.json (8 kHz, 20 bins)."""
    from lhotse import CutSet

    from rnnt.data.config import FeatureConfig
    from rnnt.options import to_dict

    CutSet.from_cuts(made_cuts(tmp_path)).to_file(tmp_path / "train.jsonl")
    (tmp_path / "features.json").write_text(json.dumps(to_dict(FeatureConfig(sampling_rate=RATE, num_mel_bins=20))))
    return tmp_path


def make_random_model(bpe_model, heads=(), features=None, **options):
    """A `TrainedModel` of random weights that says many different tokens of `make_sounds`."""
    import torch

    from rnnt.checkpoints.averaging import TrainedModel
    from rnnt.data.config import FeatureConfig
    from rnnt.data.fbank import make_extractor
    from rnnt.model.config import ModelConfig
    from rnnt.model.encoders.adapter import Adapter
    from rnnt.model.objectives import OBJECTIVES, make_heads
    from rnnt.model.transducer import Transducer
    from rnnt.options import make
    from rnnt.text.tokenizer import Tokenizer

    torch.manual_seed(0)
    tokenizer = Tokenizer.load(bpe_model)
    options = {"encoder": "lstm", **options}
    if options["encoder"] != "zipformer":
        options = {"encoder_dim": 24, "encoder_layers": 2, "subsampling_channels": 4, **options}
        if options["encoder"] == "stacked_lstm":
            del options["subsampling_channels"]
    sizes = {"predictor_dim": 16, "joiner_dim": 20, "num_features": 24, "vocab_size": tokenizer.vocab_size}
    network = Transducer(make(ModelConfig, **{**sizes, "blank_id": tokenizer.blank_id, **options}))
    network = network.with_heads(make_heads(network, [OBJECTIVES.config(name)() for name in heads])).eval()
    for module in network.modules():
        if isinstance(module, Adapter):  # new ones change nothing
            torch.nn.init.normal_(module.out_proj.weight, std=0.5)
    features = features or FeatureConfig(sampling_rate=RATE, num_mel_bins=24)
    extractor = make_extractor(features)
    x_TF = torch.cat([torch.from_numpy(extractor.extract(sound)) for sound in make_sounds()])
    network.set_feature_statistics(x_TF.mean(0), x_TF.std(0))
    with torch.no_grad():
        h_TD = network.encode(x_TF[None], torch.tensor([len(x_TF)]))[0][0]
        if "ctc" in network.heads:
            output = network.heads["ctc"].output
            output.weight.mul_(4 / output(h_TD).std(0)[:, None])
            output.bias.sub_(output(h_TD).mean(0))
        if network.joiner is not None:
            joiner = network.joiner
            joiner.encoder_proj.weight.div_(joiner.encoder_proj(h_TD).std(0)[:, None])
            joiner.encoder_proj.bias.sub_(joiner.encoder_proj(h_TD).mean(0))
            joiner.predictor_proj.weight.mul_(3)
            joiner.output.weight.normal_()
            joiner.output.bias[tokenizer.blank_id] += 3.0
            joiner.output.bias[tokenizer.unk_id] -= 100  # sherpa-onnx takes it for blank
    return TrainedModel(network, features, tokenizer, "random")


def make_sounds(number=4, seed=0):
    """Noise that changes every tenth of a second."""
    generator = np.random.default_rng(seed)
    found = []
    for length in (0.4, 1.3, 2.2, 0.9, 1.7, 3.1)[:number]:
        loudness = np.repeat(generator.uniform(0, 0.3, int(length * 10)), RATE // 10)
        low, high = generator.standard_normal((2, len(loudness)))
        found.append((loudness * (np.convolve(low, np.ones(8) / 8, "same") + 0.3 * high)).astype(np.float32))
    return found


@pytest.fixture(scope="session")
def random_model():
    """See `make_random_model`."""
    return make_random_model


@pytest.fixture(scope="session")
def random_sounds():
    """See `make_sounds`."""
    return make_sounds


@pytest.fixture(scope="session")
def blank_last(toy, tmp_path_factory):
    """A SentencePiece model that knows no blank, which then comes after its pieces."""
    import sentencepiece

    prefix = tmp_path_factory.mktemp("tokens") / "bpe"
    sentencepiece.SentencePieceTrainer.train(
        input=str(toy / "text"), model_prefix=str(prefix), vocab_size=14, bos_id=-1, eos_id=-1, minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    return prefix.with_suffix(".model")
