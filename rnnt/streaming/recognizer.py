"""Recognition while one speaks: streams that take samples and tell the words so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rnnt.data.fbank import make_extractor
from rnnt.errors import UserError
from rnnt.model.encoders.streaming import join_states, split_states
from rnnt.model.masking import valid_mask
from rnnt.search.needs import default_search
from rnnt.search.result import NOTHING, Hypothesis, Word, words
from rnnt.streaming.batches import as_streaming
from rnnt.streaming.config import StreamConfig
from rnnt.streaming.features import FeatureStream, take_features
from rnnt.streaming.search import make_search
from rnnt.text.tokenizer import WORD_START

if TYPE_CHECKING:
    from rnnt.data.config import FeatureConfig
    from rnnt.model.encoders.streaming import State
    from rnnt.model.transducer import Transducer
    from rnnt.search.config import SearchConfig
    from rnnt.search.fusion import Scorer
    from rnnt.streaming.ctc import PathState
    from rnnt.streaming.search import SearchState
    from rnnt.text.tokenizer import Tokenizer


class StreamingRecognizer:
    """What many streams share: the model, the search, and how they go through both together.

    Args:
        model: on its device, in evaluation mode.
        features: its front-end.
        tokenizer: of its tokens.
        search: options of the search: greedy_search, modified_beam_search, time_sync_beam_search or ctc_greedy_search.
        scorers: pairs of scorer and weight, see `rnnt.search.fusion`.
        config: chunks, ends of utterances.

    Raises:
        UserError: encoder, search or front-end need the whole utterance.
    """

    def __init__(
        self,
        model: Transducer,
        features: FeatureConfig,
        tokenizer: Tokenizer,
        search: SearchConfig | None = None,
        scorers: Iterable[tuple[Scorer, float]] = (),
        config: StreamConfig | None = None,
    ) -> None:
        self.model, self.features, self.tokenizer = model, features, tokenizer
        self.config = config or StreamConfig()
        self.device = model.feature_mean.device
        self.seconds_per_frame = features.frame_shift * model.subsampling_factor
        self.search: Any = make_search(model, search or default_search(model), list(scorers))
        self.extractor = make_extractor(features)
        FeatureStream(features, self.extractor)  # says whether the front-end can stream
        self.encoder, self.windows = as_streaming(model, self.config, features.frame_shift)

    def stream(self) -> Stream:
        """A new stream, of one channel."""
        return Stream(self)

    def decode(self, streams: Sequence[Stream]) -> int:
        """Let every stream that has a window of features go on by one, all together; how many did."""
        ready = [stream for stream in streams if stream.is_ready]
        if ready:
            self._advance(ready)
        return len(ready)

    @torch.inference_mode()
    def _advance(self, ready: Sequence[Stream]) -> None:
        new = take_features([(stream.features, stream.wanted_frames) for stream in ready])
        windows = [stream.next_window(x_TF) for stream, x_TF in zip(ready, new)]
        x_BTF = torch.from_numpy(np.stack([x_TF for x_TF, _ in windows])).to(self.device)
        x_len_B = torch.tensor([count for _, count in windows], device=self.device)
        x_BTF = (x_BTF - self.model.feature_mean) / self.model.feature_std
        x_BTF = x_BTF * valid_mask(x_len_B, x_BTF.shape[1])[..., None]
        state = join_states([stream.encoder_state for stream in ready])
        h_BTD, h_len_B, state = self.encoder.stream(x_BTF, x_len_B, state)
        found = self.search.advance([stream.search_state for stream in ready], h_BTD, h_len_B)
        for stream, encoder_state, search_state in zip(ready, split_states(state), found):
            stream.encoder_state, stream.search_state = encoder_state, search_state


class Stream:
    """One speaker's audio, as it comes.

    `accept` samples, look at `text`, `finish`. Where an utterance has ended (`is_endpoint`), `next_utterance` begins
    another one: the words so far are given away, and times go on.

    Attributes:
        encoder_state, search_state: between two windows.
        features: that were not recognised yet.
        is_finished: no more samples come.
    """

    def __init__(self, recognizer: StreamingRecognizer) -> None:
        self.recognizer = recognizer
        self.encoder_state: State = recognizer.encoder.init_state(1)
        self.search_state: SearchState | PathState = recognizer.search.start(recognizer.device)
        self.features = FeatureStream(recognizer.features, recognizer.extractor)
        self._waiting = np.zeros((0, recognizer.features.num_mel_bins), np.float32)
        self._rate: int | None = None
        self._begin = 0  # encoder frame where the utterance begins
        self.is_finished = False
        self._best: tuple[SearchState | PathState, bool, Hypothesis] | None = None
        self._said = (NOTHING.tokens, "")  # tokens, and their text
        self._head: tuple[Hypothesis, list[Word]] = (NOTHING, [])  # all words but the last, which may go on

    def accept(self, samples: np.ndarray, sampling_rate: int | None = None) -> None:
        """Take samples (N,) in [-1, 1], any number of them, and recognise what they complete.

        Args:
            samples: floats.
            sampling_rate: in Hz; None: that of the model. It stays the same for a stream.
        """
        self.put(samples, sampling_rate)
        while self.recognizer.decode([self]):
            pass

    def put(self, samples: np.ndarray, sampling_rate: int | None = None) -> None:
        """`accept`, but `StreamingRecognizer.decode` recognises, many streams at once."""
        if self.is_finished:
            raise UserError("the stream is finished; begin another")
        samples = np.asarray(samples)
        if samples.ndim != 1 or samples.dtype.kind != "f":
            raise UserError(f"samples must be floats of one channel, (N,), not {samples.dtype} {samples.shape}")
        self._rate = sampling_rate or self.recognizer.features.sampling_rate
        self.features.put(samples.astype(np.float32), sampling_rate)

    def finish(self) -> str:
        """No more samples come: recognise the rest, and return the text."""
        self.end()
        while self.recognizer.decode([self]):
            pass
        return self.text

    def end(self) -> None:
        """`finish`, but `StreamingRecognizer.decode` recognises."""
        if self.is_finished:
            return
        if self._rate is not None:
            silence = np.zeros(round(self.recognizer.config.tail_seconds * self._rate), np.float32)
            self.features.put(silence, self._rate)
        self.features.end()
        self.is_finished = True

    @property
    def wanted_frames(self) -> int:
        """New frames of features that go into the next window, as far as they are there."""
        return min(self.features.frames - self.features.taken, self.recognizer.windows.size - len(self._waiting))

    @property
    def is_ready(self) -> bool:
        """Whether there is a window to recognise."""
        is_full = len(self._waiting) + self.wanted_frames >= self.recognizer.windows.size
        return is_full or (self.is_finished and not self.is_done)

    @property
    def is_done(self) -> bool:
        """Whether the stream is finished and all of it recognised."""
        if not self.is_finished:
            return False
        frames = self.recognizer.model.encoded_lengths(torch.tensor([self.features.frames]))
        return self._begin + self.search_state.frames >= int(frames)

    def next_window(self, new_TF: np.ndarray) -> tuple[np.ndarray, int]:
        """The next window of features (T, F), which `new_TF` fill, zero where there are none; how many there are."""
        windows = self.recognizer.windows
        x_TF = np.concatenate([self._waiting, new_TF]) if len(self._waiting) else new_TF
        self._waiting = x_TF[windows.shift :]
        missing = windows.size - len(x_TF)
        return np.pad(x_TF, ((0, missing), (0, 0))) if missing else x_TF, len(x_TF)

    @property
    def hypothesis(self) -> Hypothesis:
        """The best hypothesis of the utterance so far; frames count from its beginning."""
        state, is_done = self.search_state, self.is_done
        if self._best is None or self._best[0] is not state or self._best[1] != is_done:
            self._best = state, is_done, self.recognizer.search.hypotheses(state, is_done)[0]
        return self._best[2]

    @property
    def text(self) -> str:
        """The text of the utterance so far."""
        tokens = self.hypothesis.tokens
        if self._said[0] != tokens:
            self._said = tokens, self.recognizer.tokenizer.decode(tokens)
        return self._said[1]

    @property
    def stable_text(self) -> str:
        """The text that can't change any more."""
        count = self.recognizer.search.num_stable(self.search_state)
        tokens = self.hypothesis.tokens
        return self.text if count == len(tokens) else self.recognizer.tokenizer.decode(tokens[:count])

    @property
    def begin_seconds(self) -> float:
        """Where the utterance begins in the stream."""
        return self._begin * self.recognizer.seconds_per_frame

    @property
    def heard_seconds(self) -> float:
        """How much of the stream the words so far come from, look-ahead not counted."""
        return (self._begin + self.search_state.frames) * self.recognizer.seconds_per_frame

    @property
    def words(self) -> list[Word]:
        """The words of the utterance so far, with times in seconds since the stream began, and confidences."""
        hypothesis, (head, found) = self.hypothesis, self._head
        begin = len(head.tokens)
        if begin and hypothesis.part(0, begin) != head:
            begin, found = 0, []
        tokens = self.recognizer.tokenizer.tokens
        last = len(hypothesis.tokens) - 1
        while last > begin and not tokens[hypothesis.tokens[last]].startswith(WORD_START):
            last -= 1

        def words_of(part: Hypothesis) -> list[Word]:
            return words(part, tokens, self.recognizer.seconds_per_frame, self.begin_seconds)

        # Of a long utterance most words were told before: they are not made again.
        if last > begin:
            found = found + words_of(hypothesis.part(begin, last))
            self._head = hypothesis.part(0, last), found
            begin = last
        return found + words_of(hypothesis.part(begin, len(hypothesis.tokens)))

    @property
    def is_endpoint(self) -> bool:
        """Whether an utterance has ended, by the rules of `StreamConfig`."""
        config, frames = self.recognizer.config, self.hypothesis.frames
        heard = self.search_state.frames * self.recognizer.seconds_per_frame
        silence = heard - (frames[-1] + 1) * self.recognizer.seconds_per_frame if frames else heard
        return (
            silence >= config.rule1_silence
            or (bool(frames) and silence >= config.rule2_silence)
            or heard >= config.rule3_length
        )

    def next_utterance(self) -> None:
        """Begin another utterance: what was said so far is forgotten by the search, and known to the encoder."""
        self._begin += self.search_state.frames
        self._head = NOTHING, []
        self.search_state = self.recognizer.search.start(self.recognizer.device)
