"""The README of an exported folder: the commands that run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHERPA_FACTOR = 4  # input frames per encoder frame in sherpa-onnx's times


def read_me(description: Mapping[str, Any]) -> str:
    """The text for what config.json says."""
    features, files = description["features"], description["sha256"]
    sizes = f"sample_rate={features['sampling_rate']}, feature_dim={features['num_mel_bins']}"
    flags = f"--sample-rate={features['sampling_rate']} --feat-dim={features['num_mel_bins']}"
    parts = [
        f"# {description['model']['encoder']['name']} in ONNX",
        f"Written by `export_model.py --format onnx` from {description['selection']}. The features that the model was "
        f"trained with are Kaldi's filter banks, {features['num_mel_bins']} of {features['sampling_rate']} samples per "
        "second; their normalisation is in the graphs. Blank is token 0.",
    ]
    if not description["streaming"]:
        parts.append(
            "## With rnnt (no torch)\n\n```python\nimport rnnt\n\n"
            'print(rnnt.load_model("THIS_FOLDER").transcribe("speech.wav").text)\n```'
        )
    if description["streaming"]:
        if "encoder.onnx" in files:
            parts.append(_streaming(sizes, flags))
        if "ctc.onnx" in files:
            parts.append(_streaming(sizes, flags, ctc=True))
    elif "encoder.onnx" in files:
        graphs = [f"--{name}={name}.onnx" for name in ("encoder", "decoder", "joiner")]
        parts.append(
            "## With sherpa-onnx\n\n```python\nimport sherpa_onnx\nimport soundfile\n\n"
            "recognizer = sherpa_onnx.OfflineRecognizer.from_transducer(\n"
            '    encoder="encoder.onnx", decoder="decoder.onnx", joiner="joiner.onnx", tokens="tokens.txt",\n'
            f'    {sizes}, decoding_method="greedy_search", num_threads=2,\n)\n' + _decode() + "```\n\n"
            "```sh\nsherpa-onnx-offline --tokens=tokens.txt " + " ".join(graphs) + f" {flags} speech.wav\n```\n\n"
            'With hotwords: `decoding_method="modified_beam_search", modeling_unit="bpe", bpe_vocab="bpe.vocab", '
            'hotwords_file="hotwords.txt"`.'
        )
    if "ctc.onnx" in files and not description["streaming"]:
        parts.append(
            "## The CTC layer alone, with sherpa-onnx\n\n```python\nimport sherpa_onnx\nimport soundfile\n\n"
            "recognizer = sherpa_onnx.OfflineRecognizer.from_zipformer_ctc(\n"
            f'    model="ctc.onnx", tokens="tokens.txt", {sizes}\n)\n' + _decode() + "```\n\n"
            f"```sh\nsherpa-onnx-offline --tokens=tokens.txt --zipformer-ctc-model=ctc.onnx {flags} speech.wav\n```"
        )
    factor = description["subsampling_factor"]
    if factor != SHERPA_FACTOR:
        parts.append(
            f"sherpa-onnx takes an encoder frame for {SHERPA_FACTOR} input frames, and here it is {factor}: multiply "
            f"its times by {factor / SHERPA_FACTOR:g}."
        )
    return "\n\n".join(parts) + "\n"


def _streaming(sizes: str, flags: str, ctc: bool = False) -> str:
    files = 'encoder="encoder.onnx", decoder="decoder.onnx", joiner="joiner.onnx"'
    options = "--encoder=encoder.onnx --decoder=decoder.onnx --joiner=joiner.onnx"
    if ctc:
        files, options = 'model="ctc.onnx"', "--zipformer2-ctc-model=ctc.onnx"
    maker = "zipformer2_ctc" if ctc else "transducer"
    title = "The CTC layer alone, while" if ctc else "With sherpa-onnx, while"
    return (
        f"## {title} someone speaks\n\n```python\nimport numpy as np\nimport sherpa_onnx\n"
        f"import soundfile\n\nrecognizer = sherpa_onnx.OnlineRecognizer.from_{maker}(\n"
        f'    {files}, tokens="tokens.txt",\n'
        f"    {sizes}, enable_endpoint_detection=True,\n)\n"
        'samples, rate = soundfile.read("speech.wav", dtype="float32")\n'
        "stream = recognizer.create_stream()\n"
        "for piece in (*np.array_split(samples, 10), np.zeros(rate, np.float32)):  # silence: what is not full waits\n"
        "    stream.accept_waveform(rate, piece)\n"
        "    while recognizer.is_ready(stream):\n        recognizer.decode_stream(stream)\n"
        "    print(recognizer.get_result(stream))\n```\n\n"
        f"```sh\nsherpa-onnx --tokens=tokens.txt {options} {flags} speech.wav\n```"
    )


def _decode() -> str:
    return (
        'samples, rate = soundfile.read("speech.wav", dtype="float32")\n'
        "stream = recognizer.create_stream()\nstream.accept_waveform(rate, samples)\n"
        "recognizer.decode_stream(stream)\nprint(stream.result.text)\n"
    )
