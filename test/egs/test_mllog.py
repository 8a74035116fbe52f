"""The MLPerf log of the training program of egs/librispeech/ASR/mlperf, and what mlperf-logging's checker says."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MLPERF = ROOT / "egs/librispeech/ASR/mlperf"
CONFIG = ROOT / "egs/librispeech/ASR/conf/mlperf/512.yaml"
LENGTHS = """
train_utterances: 160
train_percentiles: [0, 0.4, 100, 0.9]
dev_utterances: 2703
dev_percentiles: [0, 0.06, 100, 0.06]
tokens_per_second: 4
"""


def check(path):
    """What the checker prints about a log and its exit status."""
    pytest.importorskip("mlperf_logging")
    command = [sys.executable, "-m", "mlperf_logging.compliance_checker", "--usage", "training", "--ruleset", "3.1.0"]
    command += ["--log_output", str(path) + ".checked", str(path)]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.stdout + result.stderr, result.returncode


@pytest.fixture
def main(monkeypatch):
    """`main` of the training program, which finds its neighbours."""
    monkeypatch.syspath_prepend(str(MLPERF))
    monkeypatch.delitem(sys.modules, "mllog", raising=False)
    spec = importlib.util.spec_from_file_location("mlperf_train", MLPERF / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.main
    sys.modules.pop("mllog", None)


def records(text):
    prefix = ":::MLLOG "
    return [json.loads(line[len(prefix) :]) for line in text.splitlines() if line.startswith(prefix)]


@pytest.fixture
def argv(tmp_path):
    """`argv(**options)` of a run of the exact configuration on short synthetic utterances, one frame each in dev."""
    (tmp_path / "lengths.yaml").write_text(LENGTHS)

    def make(**options):
        values = {
            "config": CONFIG, "synthetic": tmp_path / "lengths.yaml", "exp_dir": tmp_path / "exp", "batch_size": 8,
            "accum_grad": 2, "num_workers": 0, "tensorboard": "false", "threads": 1, "device": "cpu", "mllog": "true",
            "mllog_org": "test", **options,
        }  # fmt: skip
        return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]

    return make


SMALL = {
    "encoder_dim": 64, "encoder_layers": 2, "layers_before_stacking": 1, "predictor_layers": 1, "predictor_dim": 32,
    "joiner_dim": 32, "vocab_size": 6, "blank_id": 5, "num_features": 20, "dropout": 0, "predictor_dropout": 0,
    "joiner_dropout": 0, "lstm_init_scale": 1, "enable_spec_aug": "false",
}  # fmt: skip


def test_log_of_a_run(main, tmp_path, argv, capsys):
    main(argv(**SMALL, synthetic_dev=10, max_updates=12, num_epochs=2))
    found = records(capsys.readouterr().out)
    keys = [record["key"] for record in found]
    values = {record["key"]: record["value"] for record in found}
    assert keys[0] == "init_start" and keys[-1] == "run_stop" and found[-1]["metadata"]["status"] == "aborted"
    order = [key for key in keys if key in ("init_stop", "run_start", "epoch_start", "epoch_stop", "eval_accuracy")]
    assert order == ["init_stop", "run_start", *2 * ["epoch_start", "epoch_stop", "eval_accuracy"]]
    assert values["global_batch_size"] == 16 and values["gradient_accumulation_steps"] == 2
    assert (values["train_samples"], values["eval_samples"]) == (160, 10)
    assert [r["metadata"]["epoch_num"] for r in found if r["key"] == "eval_accuracy"] == [1, 2]
    wers = [json.loads(line)["dev_wer"] for line in (tmp_path / "exp/epochs.jsonl").read_text().splitlines()]
    assert next(r["value"] for r in found if r["key"] == "eval_accuracy") == wers[0] / 100
    assert all(r["value"]["throughput"] > 0 for r in found if r["key"] == "tracked_stats")
    times = [record["time_ms"] for record in found]
    assert times == sorted(times)
    assert values["data_synthetic"] is True and values["seed"] == 42
    assert set(found[0]) == {"namespace", "time_ms", "event_type", "key", "value", "metadata"}


def test_batches_of_seconds_have_no_such_log(main, argv, capsys):
    with pytest.raises(SystemExit):
        main(argv(batch_size=0))
    assert "--mllog needs --batch-size" in capsys.readouterr().err


def test_without_the_option_there_is_no_log(main, argv, capsys):
    main(argv(**SMALL, synthetic_dev=4, max_updates=1, mllog="false"))
    assert records(capsys.readouterr().out) == []


def test_the_log_belongs_to_this_program_alone(main, capsys):
    import rnnt.train

    helps = []
    for program in (main, rnnt.train.main):
        with pytest.raises(SystemExit):
            program(["--help"])
        helps.append(capsys.readouterr().out)
    assert "--mllog-division" in helps[0] and "mllog" not in helps[1]


def test_log_of_the_options(main, argv, capsys):
    """All keys that the options determine, in their order."""
    main(argv(**{**SMALL, "enable_spec_aug": "true"}, synthetic_dev=4, max_updates=1))
    found = [(r["key"], r["value"]) for r in records(capsys.readouterr().out)]
    keys = [key for key, _ in found]
    assert found[keys.index("seed") : keys.index("global_batch_size")] == [
        ("seed", 42), ("data_synthetic", True), ("precision", "fp32"), ("gradient_accumulation_steps", 2),
        ("opt_name", "lamb"), ("opt_base_learning_rate", 0.0062), ("opt_weight_decay", 1e-3),
        ("opt_gradient_clip_norm", 1.0), ("model_weights_initialization_scale", 1.0), ("model_eval_ema_factor", 0.994),
        ("eval_max_prediction_symbols", 300), ("data_train_max_duration", 16.7), ("data_train_num_buckets", 1),
        ("data_speed_perturbaton_min", 0.85), ("data_speed_perturbaton_max", 1.15),
        ("data_spec_augment_freq_n", 2), ("data_spec_augment_freq_min", 0), ("data_spec_augment_freq_max", 20),
        ("data_spec_augment_time_n", 10), ("data_spec_augment_time_min", 0), ("data_spec_augment_time_max", 0.03),
        ("opt_lamb_epsilon", 1e-9), ("opt_lamb_beta_1", 0.9), ("opt_lamb_beta_2", 0.9985),
        ("opt_learning_rate_warmup_epochs", 1), ("opt_lamb_learning_rate_hold_epochs", 11),
        ("opt_lamb_learning_rate_decay_poly_power", 0.915), ("opt_lamb_learning_rate_min", 1e-5),
        ("opt_learning_rate_alt_decay_func", True), ("opt_learning_rate_alt_warmup_func", True),
    ]  # fmt: skip


@pytest.mark.slow
def test_the_main_process_alone_writes(tmp_path, argv):
    command = [sys.executable, str(MLPERF / "train.py"), *argv(**SMALL, synthetic_dev=4, max_updates=1, world_size=2)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert out.returncode == 0, out.stderr[-2000:]
    values = [(r["key"], r["value"]) for r in records(out.stdout)]
    assert values.count(("run_start", None)) == 1
    assert ("number_of_ranks", 2) in values and ("global_batch_size", 32) in values


@pytest.mark.slow
def test_the_exact_configuration_fails_by_its_wer_alone(main, tmp_path, argv, capsys):
    pytest.importorskip("mlperf_logging")
    main(argv(max_updates=2, batch_size=4, accum_grad=1, mllog_division="closed", mllog_cache_cleared="true"))
    (tmp_path / "closed.log").write_text(capsys.readouterr().out)
    said, status = check(tmp_path / "closed.log")
    assert status != 0 or "SUCCESS" not in said
    assert said.count("Failed checks for") == said.count("ailed") == 1
    assert "Failed checks for eval_accuracy : v['value'] <= 0.058" in said


@pytest.mark.slow
def test_a_small_run_of_the_open_division_succeeds(main, tmp_path, argv, capsys):
    pytest.importorskip("mlperf_logging")
    main(argv(
        **SMALL, synthetic_train=320, synthetic_dev=60, num_epochs=30, stop_at_wer=70, warmup_epochs=1, hold_epochs=30,
        base_lr=0.02, ema_decay=0.5, accum_grad=1,
    ))  # fmt: skip
    (tmp_path / "open.log").write_text(capsys.readouterr().out)
    said, status = check(tmp_path / "open.log")
    assert status == 0 and "SUCCESS" in said, said
    assert records((tmp_path / "open.log").read_text())[-1]["metadata"]["status"] == "success"
