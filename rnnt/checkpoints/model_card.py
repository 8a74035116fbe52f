"""The README of a folder for a model hub: what the model is, how well it does, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnt.files import read_json_object


def model_card(description: Mapping[str, Any], exp_dir: str | Path) -> str:
    """The card of a model.

    Args:
        description: what config.json of the model says.
        exp_dir: the experiment; what decode.py wrote there of the same checkpoints is the table of error rates, and
            what training read is named.
    """
    model, features = description["model"], description["features"]
    frame_ms = 1000 * description["frame_seconds"]
    kinds = [model["encoder"]["name"], *([model["predictor"]["name"]] if model.get("transducer", True) else [])]
    parts = [
        "---\nlibrary_name: rnnt\npipeline_tag: automatic-speech-recognition\ntags:\n- automatic-speech-recognition\n"
        f"- transducer\n- {model['encoder']['name']}\n---",
        f"# Speech recognition: {' + '.join(kinds)}",
        f"{description['parameters']:,} parameters, {model['vocab_size']} tokens, {features['num_mel_bins']} mel "
        f"filters at {features['sampling_rate']} Hz, a frame every {frame_ms:g} ms. Weights: "
        f"{description['selection']}.",
        "## Use\n\n```python\nimport rnnt\nfrom huggingface_hub import snapshot_download\n\n"
        'model = rnnt.load_model(snapshot_download("OWNER/NAME"))\nprint(model.transcribe("speech.wav").text)\n```',
        "## Training data\n\n" + _training_data(Path(exp_dir)),
    ]
    rows = _error_rates(Path(exp_dir), description["selection"])
    if rows:
        head = "| set | search | WER % | 95 % | words |\n|---|---|---|---|---|\n"
        parts.append("## Word error rates\n\n" + head + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _training_data(exp_dir: Path) -> str:
    where = exp_dir / "config.json"
    train = read_json_object(where).get("train") if where.is_file() else None
    if not isinstance(train, dict) or not isinstance(train.get("train_set"), str):
        return "Not recorded."
    name, manifests = train["train_set"], Path(str(train.get("manifest_dir", "")))
    counts = None
    if (manifests / "statistics.json").is_file():
        counts = read_json_object(manifests / "statistics.json").get(name)
    if isinstance(counts, dict) and {"hours", "utterances"} <= set(counts):
        return f"`{name}`: {counts['hours']:.1f} hours in {counts['utterances']:,} utterances."
    return f"`{name}`."


def _error_rates(exp_dir: Path, selection: str) -> list[str]:
    """Rows of the table: of the same checkpoints, scored in words."""
    rows = []
    for path in sorted(exp_dir.glob("decode_*/*/summary.json")):
        found = read_json_object(path)
        if found.get("checkpoint") != selection or not {"wer", "wer_low", "wer_high", "words"} <= set(found):
            continue
        method = path.parent.parent.name.removeprefix("decode_")
        interval = f"{found['wer_low']:.2f}-{found['wer_high']:.2f}"
        rows.append(f"| {path.parent.name} | {method} | {found['wer']:.2f} | {interval} | {found['words']} |")
    return rows
