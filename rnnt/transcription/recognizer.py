"""A trained model in use: audio in, text with times and confidences out."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch

from rnnt.data.features import make_extractor
from rnnt.errors import UserError
from rnnt.search import search as search_batch
from rnnt.search.config import SearchConfig
from rnnt.search.words import WORD_START, Word, words
from rnnt.training.distributed import pick_device
from rnnt.transcription.audio import Audio, open_audio, resample
from rnnt.transcription.config import PieceConfig
from rnnt.transcription.folder import read_model_folder
from rnnt.transcription.joining import Part, join

JOIN_TOLERANCE = 0.4  # seconds between the times of one token in two pieces


@dataclass(frozen=True)
class Channel:
    """What was said in one channel; times in seconds from the beginning, confidences in [0, 1]."""

    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Transcript:
    """What was said in one file or array; `seconds` is its length."""

    name: str
    seconds: float
    channels: tuple[Channel, ...]

    @property
    def text(self):
        """The text; a line a channel."""
        return "\n".join(channel.text for channel in self.channels)


@dataclass
class _Job:
    """An input on its way: `parts[channel]` fills up until nothing is pending."""

    audio: Audio
    parts: list
    pending: int = 0
    read: bool = False
    error: UserError | None = None


@dataclass
class _Batch:
    """Features that wait to be computed together."""

    features: list = field(default_factory=list)
    places: list = field(default_factory=list)  # (job, channel, first frame)

    def frames_with(self, x_TF):
        """Padded frames if `x_TF` came in."""
        return (len(self.features) + 1) * max(len(x) for x in [*self.features, x_TF])


class Recognizer:
    """A model with its front-end and tokenizer. `rnnt.load_model` makes one from a model directory.

    Attributes: `model`, `features` (`FeatureConfig`), `tokenizer`, `selection` (which checkpoints), `device`,
    `frame_seconds` (distance of two encoder frames).
    """

    def __init__(self, model, features, tokenizer, selection="", device="cpu"):
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.features, self.tokenizer, self.selection = features, tokenizer, selection
        self.frame_seconds = features.frame_shift * model.config.subsampling_factor
        self._extractor = make_extractor(features)

    def transcribe(self, audio, sampling_rate=None, search=None, scorers=(), pieces=None):
        """Transcribe files or arrays of any length.

        Args:
          audio: a path or an array, or a list of them. Arrays are (num_samples,) or (channels, num_samples), floats
            in [-1, 1] or signed integers.
          sampling_rate: of the arrays, in Hz; files name their own.
          search: `SearchConfig`; scorers: see `rnnt.search.search`; pieces: `PieceConfig`.

        Returns a `Transcript`, or a list of them for a list. Raises `UserError` on the first input that is bad.
        """
        one = isinstance(audio, str) or hasattr(audio, "__fspath__") or hasattr(audio, "shape")
        found = []
        for result in self.stream([audio] if one else audio, sampling_rate, search, scorers, pieces):
            if isinstance(result, UserError):
                raise result
            found.append(result)
        return found[0] if one else found

    def stream(self, inputs, sampling_rate=None, search=None, scorers=(), pieces=None, on_audio=None):
        """Yield, for each of `inputs` in order, its `Transcript` or the `UserError` that says what is wrong with it.

        Inputs may be opened `Audio`s too. `on_audio(seconds)` is called as the audio is done. The rest is as in
        `transcribe`. Memory does not grow with the length of a file.
        """
        search, pieces = search or SearchConfig(), pieces or PieceConfig()
        queue, batch = deque(), _Batch()
        limit = pieces.batch_seconds / self.features.frame_shift

        def run():
            self._decode(batch, search, scorers)
            batch.features.clear()
            batch.places.clear()

        for number, item in enumerate(inputs):
            job = _Job(None, [])
            queue.append(job)
            try:
                job.audio = item if isinstance(item, Audio) else open_audio(item, sampling_rate, number)
                job.parts = [[] for _ in range(job.audio.num_channels)]
                for start, seconds, x_CTF in self._pieces(job.audio, pieces):
                    for channel, x_TF in enumerate(x_CTF):
                        if batch.features and batch.frames_with(x_TF) > limit:
                            run()
                        batch.features.append(x_TF)
                        batch.places.append((job, channel, start))
                        job.pending += 1
                    if on_audio:
                        on_audio(seconds)
            except UserError as error:
                job.error = error
            job.read = True
            yield from self._finished(queue)
        if batch.features:
            run()
        yield from self._finished(queue)

    def _pieces(self, audio, config):
        """Yield `(first encoder frame, seconds of new audio, features of each channel)` of each piece."""
        rate, wanted = audio.sampling_rate, self.features.sampling_rate
        # Pieces begin on encoder frames, so that a token's frame in the piece gives its frame in the audio.
        hop_frames = max(1, int((config.piece_seconds - config.overlap_seconds) / self.frame_seconds))
        hop = round(hop_frames * self.frame_seconds * rate)
        length = hop + round(config.overlap_seconds * rate)
        shortest = self.features.frame_length_ms / 1000 if self.features.snip_edges else self.features.frame_shift
        if audio.seconds < shortest:
            raise UserError(f"{audio.name}: only {audio.num_samples} samples, less than a frame")
        done = 0
        for number, samples_CN in enumerate(audio.blocks(length, hop)):
            end = number * hop + samples_CN.shape[1]
            x_CTF = [self._extractor.extract(samples_N) for samples_N in resample(samples_CN, rate, wanted)]
            yield number * hop_frames, (end - done) / rate, x_CTF
            done = end

    @torch.inference_mode()
    def _decode(self, batch, config, scorers):
        """Search a batch and hand its hypotheses to their jobs."""
        x_len_B = torch.tensor([len(x_TF) for x_TF in batch.features])
        x_BTF = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(np.asarray(x)) for x in batch.features], True)
        h_BTD, h_len_B = self.model.encode(x_BTF.to(self.device), x_len_B)
        nbest = search_batch(self.model, h_BTD, h_len_B, config, scorers)
        for (job, channel, start), length, hypotheses in zip(batch.places, h_len_B.tolist(), nbest):
            job.parts[channel].append(Part(start, start + length, hypotheses[0]))
            job.pending -= 1

    def _finished(self, queue):
        """Take what is done from the front of the queue."""
        while queue and (queue[0].error or (queue[0].read and not queue[0].pending)):
            job = queue.popleft()
            if job.error:
                yield job.error
            else:
                channels = tuple(self._channel(parts) for parts in job.parts)
                yield Transcript(job.audio.name, job.audio.seconds, channels)

    def _channel(self, parts):
        pieces = self.tokenizer.pieces
        tolerance = JOIN_TOLERANCE / self.frame_seconds
        hypothesis = join(parts, lambda token: pieces[token].startswith(WORD_START), tolerance)
        text = self.tokenizer.decode(hypothesis.tokens)
        return Channel(text, tuple(words(hypothesis, pieces, self.frame_seconds)))


def load_recognizer(folder, device="auto"):
    """The `Recognizer` of a model directory. device: `auto` (a GPU if there is one), `cpu` or `cuda`."""
    return Recognizer(*read_model_folder(folder), pick_device(device))
