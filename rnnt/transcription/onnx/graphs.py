"""The graphs of a folder in onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnt.data.config import FeatureConfig
from rnnt.errors import UserError, one_line
from rnnt.files import file_sha256, read_json_object
from rnnt.options import from_dict
from rnnt.text.tokenizer import Tokenizer

SMALL_CONTEXT, MOST_CONTEXTS = 8, 100_000  # of predictors whose outputs are kept


def is_onnx(folder: str | Path) -> bool:
    """Whether a folder is one of ONNX graphs, by its config.json."""
    path = Path(folder) / "config.json"
    return path.is_file() and read_json_object(path).get("runtime") == "onnx"


class Graphs:
    """A network in onnxruntime, in whose ids blank is 0.

    Attributes:
        heads: layers of their own over the frames: `ctc` or none.
        joiner: whether there are predictor and joiner; None: no.
        ids: the tokenizer's id of each id of the graphs.
        providers: of onnxruntime, where they run.

    Args:
        folder: with the graphs.
        ids: as the attribute.
        threads: of the processor; 0: as onnxruntime likes.
        providers: as the attribute.
    """

    def __init__(self, folder: Path, ids: list[int], threads: int, providers: list[str]) -> None:
        self.ids, self.providers = ids, providers
        names = ("encoder", "decoder", "joiner", "ctc")
        found = {
            name: _open(folder / f"{name}.onnx", threads, providers)
            for name in names
            if (folder / f"{name}.onnx").is_file()
        }
        self._encoder, self._decoder, self._joiner = (found.get(name) for name in names[:3])
        self._ctc = found.get("ctc")
        if not (self._ctc or all(name in found for name in names[:3])):
            raise UserError(f"{folder}: neither encoder, decoder and joiner nor ctc.onnx in it; export the model again")
        self.heads = {"ctc": self._ctc} if self._ctc else {}
        self.joiner = self._joiner
        self.context_size = 0
        if self._decoder:
            self.context_size = int(self._decoder.get_modelmeta().custom_metadata_map["context_size"])
        self._known: dict[bytes, np.ndarray] = {}  # outputs of the predictor by its last tokens

    def encode(self, x_BTF: np.ndarray, x_len_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features -> what the joiner takes (B, T', J), lengths (B,)."""
        return _run(self._encoder, x_BTF, x_len_B)

    def log_probs(self, x_BTF: np.ndarray, x_len_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features -> log-probabilities (B, T', V) of the CTC layer, lengths (B,)."""
        return _run(self._ctc, x_BTF, x_len_B)

    def start(self, N: int) -> np.ndarray:
        """The last tokens (N, C) before the first: blank, and nothing before it."""
        y_NC = np.full((N, self.context_size), -1, np.int64)
        y_NC[:, -1] = 0
        return y_NC

    def predict(self, y_NC: np.ndarray) -> np.ndarray:
        """The last tokens (N, C) -> what the joiner takes (N, J)."""
        if self.context_size > SMALL_CONTEXT:
            p_NJ: np.ndarray = _run(self._decoder, y_NC)[0]
            return p_NJ
        keys = [row.tobytes() for row in y_NC]
        new = {key: i for i, key in enumerate(keys) if key not in self._known}
        if new:
            if len(self._known) > MOST_CONTEXTS:
                self._known.clear()
                return self.predict(y_NC)
            self._known.update(zip(new, _run(self._decoder, y_NC[list(new.values())])[0]))
        return np.stack([self._known[key] for key in keys])

    def logits(self, e_NJ: np.ndarray, p_NJ: np.ndarray) -> np.ndarray:
        """Projected encoder and predictor outputs -> logits (N, V)."""
        logits_NV: np.ndarray = _run(self._joiner, e_NJ, p_NJ)[0]
        return logits_NV


def _run(session: Any, *inputs: np.ndarray) -> Any:
    names = [one.name for one in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs)))


def _open(path: Path, threads: int, providers: list[str]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Threads that wait busily take the cores from what runs between two graphs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # a broken file raises one of many kinds
        raise UserError(f"{path}: onnxruntime can't open it ({one_line(error)}); export the model again") from None


@dataclass(frozen=True)
class Exported:
    """What a folder of graphs holds.

    Attributes:
        graphs: the network.
        features: its front-end.
        tokenizer: its tokens.
        description: config.json.
    """

    graphs: Graphs
    features: FeatureConfig
    tokenizer: Tokenizer
    description: dict[str, Any]


def read_folder(folder: str | Path, device: str = "auto", threads: int = 0) -> Exported:
    """Open a folder that `export_model.py --format onnx` wrote.

    Raises:
        UserError: onnxruntime is missing, or a file is missing, broken or of another model.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"{folder}: ONNX graphs need onnxruntime: pip install onnxruntime") from None
    folder = Path(folder)
    description = read_json_object(folder / "config.json", "features", "sha256", "blank_id", "frame_seconds", "kind")
    if description.get("streaming"):
        raise UserError(f"{folder}: a streaming encoder, for sherpa-onnx; export it without --streaming true")
    for name, digest in description["sha256"].items():
        if not (folder / name).is_file() or file_sha256(folder / name) != digest:
            raise UserError(f"{folder / name}: not the file that config.json describes; export the model again")
    providers = ["CPUExecutionProvider"]
    if device == "cuda":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise UserError("--device cuda: this onnxruntime has no CUDA; pip install onnxruntime-gpu, or use cpu")
        providers.insert(0, "CUDAExecutionProvider")
    tokenizer = Tokenizer.load(folder / "bpe.model")
    blank = int(description["blank_id"])
    ids = [blank, *(i for i in range(tokenizer.vocab_size) if i != blank)]
    features = from_dict(FeatureConfig, description["features"], folder / "config.json")
    return Exported(Graphs(folder, ids, threads, providers), features, tokenizer, description)
