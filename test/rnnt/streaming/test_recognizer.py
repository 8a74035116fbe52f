"""Streams say what transcription of the whole says, whatever the pieces and the company."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rnnt.errors import UserError
from rnnt.model.objectives.config import CTCConfig
from rnnt.model.objectives.ctc import CTCObjective
from rnnt.model.transducer import Transducer
from rnnt.search.result import Hypothesis, words
from rnnt.streaming.config import StreamConfig
from rnnt.transcription.recognizer import Recognizer

RATE = 8000
LSTM = {"encoder": "lstm", "encoder_dim": 16, "encoder_layers": 2, "subsampling_channels": 4}
ZIPFORMER = {"encoder": "zipformer", "encoder_dim": [16, 24], "encoder_unmasked_dim": [16], "num_heads": [2],
             "num_encoder_layers": [1, 1], "downsampling_factor": [1, 2], "feedforward_dim": [32],
             "cnn_module_kernel": [7], "embed_channels": [4, 4, 8], "causal": True, "chunk_size": [16],
             "left_context_frames": [32]}  # fmt: skip
CONFORMER = {"encoder": "conformer", "encoder_dim": 16, "encoder_layers": 1, "attention_heads": 2,
             "feedforward_dim": 24, "conv_kernel": 5, "subsampling_channels": 3}  # fmt: skip
WINDOWS = {"left_seconds": 5.0, "right_seconds": 5.0}  # hold the whole
NO_TAIL = StreamConfig(tail_seconds=0.0)


def feed(stream, samples, seed, largest=3000):
    generator = np.random.default_rng(seed)
    while len(samples):
        size = int(generator.integers(1, largest))
        stream.accept(samples[:size])
        samples = samples[size:]
    return stream.finish()


@pytest.mark.parametrize("method", ["greedy_search", "modified_beam_search"])
@pytest.mark.parametrize(
    "sizes, windows", [(LSTM, {}), (ZIPFORMER, {}), (CONFORMER, WINDOWS)], ids=["lstm", "zipformer", "conformer"]
)
def test_a_stream_says_what_the_whole_says(make_recognizer, sound, sizes, windows, method):
    recognizer = make_recognizer(sizes)
    tokens = 0
    for seed, seconds in enumerate((4.7, 1.33, 0.31)):
        samples = sound(seconds, seed)
        wanted = recognizer.transcribe(samples, RATE, decoding_method=method).channels[0]
        stream = recognizer.stream(decoding_method=method, config=replace(NO_TAIL, **windows))
        assert feed(stream, samples, seed) == wanted.text
        assert [(w.word, w.start, w.end) for w in stream.words] == [(w.word, w.start, w.end) for w in wanted.words]
        assert [w.confidence for w in stream.words] == pytest.approx([w.confidence for w in wanted.words], abs=1e-4)
        assert stream.stable_text == "" or wanted.text.startswith(stream.stable_text)
        tokens += len(stream.hypothesis.tokens)
    assert tokens > 5, "the model says too little for this to test anything"


def test_streams_that_come_and_go_share_batches(make_recognizer, sound):
    recognizer = make_recognizer(LSTM)
    together = recognizer.streaming(config=NO_TAIL)
    audio = [sound(seconds, seed) for seed, seconds in enumerate((3.0, 2.2, 0.9, 2.5))]
    streams, largest = {}, 0
    for tick in range(60):
        for number, samples in enumerate(audio):
            begin = (tick - 3 * number) * 800
            if begin == 0:
                streams[number] = together.stream()
            if 0 <= begin < len(samples):
                streams[number].put(samples[begin : begin + 800])
            elif begin >= len(samples):
                streams[number].end()
        while count := together.decode(list(streams.values())):
            largest = max(largest, count)
    assert largest >= 3 and all(stream.is_done for stream in streams.values())
    for number, samples in enumerate(audio):
        assert streams[number].text == recognizer.transcribe(samples, RATE).channels[0].text


@pytest.fixture
def with_ctc(make_recognizer):
    """with_ctc(whether it has predictor and joiner) -> a `Recognizer` whose model has a CTC layer.

    The layer says a token about as often as speech would have one.
    """

    def make_one(is_hybrid):
        recognizer = make_recognizer(LSTM)
        network = recognizer.model if is_hybrid else Transducer(replace(recognizer.model.config, transducer=False))
        network.load_state_dict(recognizer.model.state_dict(), strict=False)
        head = CTCObjective(network, CTCConfig()).eval()
        with torch.no_grad():
            head.output.weight.mul_(8)
            head.output.bias[0] += 1.0
        return Recognizer(network.with_heads({"ctc": head}), recognizer.features, recognizer.tokenizer)

    return make_one


@pytest.mark.parametrize("is_hybrid", [True, False], ids=["hybrid", "ctc alone"])
@pytest.mark.parametrize("options", [{}, {"confidence": "entropy", "blank_penalty": 0.5, "temperature": 1.5}])
def test_ctc_streams_say_what_the_whole_says(with_ctc, sound, is_hybrid, options):
    recognizer = with_ctc(is_hybrid)
    options = {"decoding_method": "ctc_greedy_search", **options} if is_hybrid else options
    together = recognizer.streaming(config=StreamConfig(tail_seconds=0.0, stream_chunk_seconds=0.08), **options)
    audio = [sound(seconds, seed) for seed, seconds in enumerate((3.0, 2.27, 0.9, 2.5))]
    wanted = recognizer.transcribe(audio, RATE, **options)
    streams = [together.stream() for _ in audio]
    texts = {}
    for tick in range(45):
        for number, (stream, samples) in enumerate(zip(streams, audio)):
            begin = (tick - 3 * number) * 800
            if 0 <= begin < len(samples):
                stream.put(samples[begin : begin + 800])
            elif begin >= len(samples):
                stream.end()
        while together.decode(streams):
            for stream in streams:
                texts.setdefault(stream, set()).add(stream.text)
                assert stream.stable_text == stream.text
    assert all(stream.is_done for stream in streams) and max(map(len, texts.values())) > 3
    for stream, transcript in zip(streams, wanted):
        found = [(w.word, w.start, w.end) for w in stream.words]
        assert found == [(w.word, w.start, w.end) for w in transcript.channels[0].words]
        confidences = [w.confidence for w in transcript.channels[0].words]
        assert [w.confidence for w in stream.words] == pytest.approx(confidences, abs=1e-4)
        assert stream.text == transcript.text


def test_ctc_streams_refuse_what_they_cannot_weigh(with_ctc):
    with pytest.raises(UserError, match="ctc_greedy_search takes no language model"):
        with_ctc(True).stream(decoding_method="ctc_greedy_search", length_bonus=1.0)
    with pytest.raises(UserError, match="for streaming choose ctc_greedy_search"):
        with_ctc(False).stream(decoding_method="ctc_prefix_beam_search")


def test_what_was_told_before_stays_true(make_recognizer, sound):
    """Words and text are made again for what is new alone: as if they were made again as a whole."""
    recognizer = make_recognizer(LSTM, bias=0.0)
    for method in ("greedy_search", "modified_beam_search"):
        config = replace(NO_TAIL, rule2_silence=1.0, rule3_length=3.0)
        stream = recognizer.stream(decoding_method=method, config=config)
        most = 0
        for piece in np.split(sound(6.0, 3), 60):
            stream.accept(piece)
            tokens, begin = recognizer.tokenizer.tokens, stream.begin_seconds
            assert stream.words == words(stream.hypothesis, tokens, recognizer.seconds_per_frame, begin)
            assert stream.text == recognizer.tokenizer.decode(stream.hypothesis.tokens)
            most = max(most, len(stream.words))
            if stream.is_endpoint:
                stream.next_utterance()
        assert most > 1


def test_samples_may_change_after_they_were_given(make_recognizer, sound):
    recognizer, samples = make_recognizer(LSTM), sound(2.0, 1)
    stream, buffer = recognizer.stream(config=NO_TAIL), np.zeros(100, np.float32)
    for piece in np.split(samples, 160):
        buffer[:] = piece
        stream.accept(buffer)
    assert stream.finish() == recognizer.transcribe(samples, RATE).channels[0].text


def test_utterances_end_after_silence_and_times_go_on(make_recognizer, sound):
    recognizer = make_recognizer(LSTM)
    config = StreamConfig(tail_seconds=0.0, rule1_silence=0.8, rule2_silence=0.4, rule3_length=1.5)
    stream = recognizer.stream(config=config)
    ends, last = [], 0.0
    for piece in np.split(sound(9.0, 4), 90):
        stream.accept(piece)
        if stream.is_endpoint:
            for word in stream.words:
                assert word.start >= last
                last = word.start
            ends.append(stream.search_state.frames * recognizer.seconds_per_frame)
            stream.next_utterance()
            assert stream.text == "" and not stream.is_endpoint
    assert ends == pytest.approx([1.6] * 5), "in chunks of 0.32 s"
    stream.finish()
    assert stream.is_done


def test_the_rules_for_the_end_of_an_utterance(make_recognizer, sound):
    stream = make_recognizer(LSTM).stream()  # 2.4 s; 1.2 s behind a token; 20 s
    said = Hypothesis((3, 4), (10, 24), (0.0, 0.0), (1.0, 1.0), 0.0)  # until 1.0 s
    for seconds, hypothesis, wanted in (
        (2.36, (), False), (2.4, (), True), (2.16, said, False), (2.2, said, True), (20.0, said, True),
    ):  # fmt: skip
        found = (hypothesis,) if hypothesis else stream.search_state.found
        stream.search_state = replace(stream.search_state, frames=round(seconds / 0.04), found=found)
        assert stream.is_endpoint == wanted, (seconds, hypothesis)
        stream.search_state = stream.recognizer.search.start(stream.recognizer.device)


def test_silence_behind_the_end_lets_a_late_word_out(make_recognizer, sound):
    recognizer = make_recognizer(LSTM)
    samples = sound(1.0, 1)
    frames = {}
    for tail in (0.0, 0.5):
        stream = recognizer.stream(config=StreamConfig(tail_seconds=tail))
        stream.accept(samples)
        stream.finish()
        frames[tail] = stream.search_state.frames
    assert frames == {0.0: 25, 0.5: 38}


def test_misuse_is_refused(make_recognizer, sound):
    recognizer = make_recognizer(LSTM)
    stream = recognizer.stream()
    for samples in (np.zeros((2, 5), np.float32), np.zeros(5, np.int16)):
        with pytest.raises(UserError, match="floats of one channel"):
            stream.accept(samples)
    assert stream.finish() == "" and stream.finish() == ""
    with pytest.raises(UserError, match="finished"):
        stream.accept(np.zeros(5, np.float32))
    with pytest.raises(UserError, match="needs the whole utterance"):
        recognizer.stream(decoding_method="beam_search")
    conformer = {"encoder": "conformer", "encoder_dim": 16, "encoder_layers": 1, "subsampling_channels": 4}
    with pytest.raises(UserError, match="conformer encoder needs the whole utterance"):
        make_recognizer(conformer).stream()
    with pytest.raises(UserError, match="--encoder-bidirectional false"):
        make_recognizer({**LSTM, "encoder_bidirectional": True}).stream()
