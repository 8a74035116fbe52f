"""The Python of docs/python.md runs as it stands, one piece after the other, beside a model and a recording."""

import warnings
from pathlib import Path

import numpy as np

from rnnt import export_model, train
from rnnt.data.audio import write_audio

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_every_piece_runs(fenced, toy_argv, tmp_path, monkeypatch, capsys):
    train.main(toy_argv(tmp_path / "exp", num_epochs=1))
    export_model.main(["--exp-dir", str(tmp_path / "exp"), "--out", str(tmp_path / "mymodel")])
    write_audio(tmp_path / "talk.wav", 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32), 8000)
    monkeypatch.chdir(tmp_path)
    pieces = fenced(PAGE.read_text(encoding="utf-8"), "python")
    assert len(pieces) >= 5
    names = {}
    for piece in pieces:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(piece, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert "<Recognizer epoch-1-avg-1: lstm" in printed and "nothing.wav: no such file" in printed
    assert len(names["result"].channels[0].nbest) == 4 and names["logits_BTUV"].grad is not None
