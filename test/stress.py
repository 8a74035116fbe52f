"""Disturbs a training, a preparation or a decoding at random moments, again and again, and compares what comes of it.

    test/stress.py train --number 100               SIGKILL at 100 random moments of trainings of the toy data
    test/stress.py train --signal TERM --number 30  SIGTERM every millisecond until the training has ended
    test/stress.py ranks --number 30                the same trainings with --world-size 2
    test/stress.py prepare --number 40              stages 1 and 3 to 7
    test/stress.py decode --number 40               decoding in shards, of averaged weights

Processes are forked from one that has loaded everything, so that a try takes about a second. What is disturbed is
started again until it ends by itself; then all that it has written must be, bit for bit, what an undisturbed one wrote.
"""

import argparse
import collections
import contextlib
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

TEST = Path(__file__).resolve().parent
sys.path[0] = str(TEST.parent)  # not this folder, which has an rnnt of tests

from rnnt import files  # noqa: E402
from rnnt.distributed.signals import exit_status, ignore_signals  # noqa: E402

WORKERS = 1  # processes that load features: killed, they must end by themselves


def load(path):
    spec = importlib.util.spec_from_file_location(f"stress_{Path(path).stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Work:
    """What is disturbed: `run()` does it in `folder`, `result()` is what must be the same in the end."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def clear(self):
        """Begin anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def left(self):
        """Temporary files."""
        return [str(path) for path in self.folder.rglob(".*") if ".tmp" in path.name]


def plain(value):
    """A checkpoint as something that compares bit for bit."""
    import torch

    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().view(-1).numpy().tobytes()
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


class Training(Work):
    """Two epochs of the toy data, with everything that is written now and then."""

    def __init__(self, folder, toy, argv):
        super().__init__(folder)
        self.argv = argv(
            self.folder, save_every_n=1, keep_last_k=2, keep_last_epochs=1, keep_best_epochs=1, ema_decay=0.8,
            average_period=1, tensorboard="true", num_workers=WORKERS, log_interval=1,
        )  # fmt: skip

    def run(self):
        from rnnt.train import main

        main(self.argv)

    def result(self):
        from rnnt.checkpoints.files import load_training

        files = sorted(path.name for path in self.folder.glob("epoch*"))
        return files, plain(load_training(self.folder / "epoch-2.pt")), (self.folder / "epochs.jsonl").read_text()

    def check(self):
        """Whatever stands there after a signal can be continued."""
        from rnnt.checkpoints.files import newest_checkpoint

        def fail(message):
            raise AssertionError(message)

        assert newest_checkpoint(self.folder, fail) is not None


class Ranks(Training):
    """The same in two processes; the one that is disturbed has started the other."""

    def __init__(self, folder, toy, argv):
        super().__init__(folder, toy, argv)
        self.argv += ["--world-size", "2"]


class Decoding(Work):
    """The jobs of --decode-nj 2 and what scores their shards, of the average of two epochs."""

    PARTS = 2

    def __init__(self, folder, toy, argv):
        super().__init__(folder)
        self.base = self.folder.with_name("trained")
        options = ["--exp-dir", str(self.folder), "--manifest-dir", str(toy), "--decode-sets", "dev", "train"]
        options += ["--avg", "2", "--num-workers", "0", "--threads", "1", "--device", "cpu", "--max-duration", "4"]
        self.options = options
        if not self.base.exists():
            from rnnt.train import main

            main(argv(self.base, tensorboard="false"))

    def clear(self):
        super().clear()
        shutil.copytree(self.base, self.folder, dirs_exist_ok=True)

    def run(self):
        from rnnt.decode import main

        for part in range(1, self.PARTS + 1):
            main([*self.options, "--split", f"{part}/{self.PARTS}"])
        main([*self.options, "--merge", str(self.PARTS)])

    def result(self):
        names = ("ref.trn", "hyp.trn", "wer", "errors.txt", "utterances.jsonl")
        folders = [self.folder / "decode_greedy_search_avg-2" / name for name in ("dev", "train")]
        return [(folder / name).read_bytes() for folder in folders for name in names]


class Preparation(Work):
    """Import of a table, features, word pieces, validation and n-grams; each stage continues what it began."""

    def __init__(self, folder, toy, argv):
        super().__init__(folder)
        self.audio = self.folder.with_name("audio")
        self.programs = {
            name: load(TEST.parent / "local" / f"{name}.py")
            for name in ("import_corpus", "compute_fbank", "train_bpe", "validate", "make_ngram")
        }
        if not self.audio.exists():
            import numpy as np

            from rnnt.data.audio import write_audio

            self.audio.mkdir()
            generator, rows = np.random.default_rng(0), ["audio\ttext"]
            for number in range(120):
                samples = 0.1 * generator.standard_normal(8000 + 160 * (number % 9))
                write_audio(self.audio / f"u{number:03d}.wav", samples, 8000)
                words = [("one", "two", "three")[k] for k in generator.integers(0, 3, 1 + number % 3)]
                rows.append(f"u{number:03d}.wav\t{' '.join(words)}")
            (self.audio / "train.tsv").write_text("\n".join(rows) + "\n")

    def run(self):
        os.chdir(self.folder)
        stages = {
            "import_corpus": ["--sets", f"train={self.audio}/train.tsv"],
            "compute_fbank": ["--sampling-rate", "8000", "--num-mel-bins", "20", "--device", "cpu"],
            "train_bpe": ["--vocab-size", "16", "--out", "data/lang"],
            "validate": ["--bpe-model", "data/lang/bpe.model", "--max-drop", "100"],
            "make_ngram": ["--lang-dir", "data/lang", "--order", "2"],
        }
        for name, argv in stages.items():
            marker = Path(f".{name}.done")  # as run_stage.py leaves one
            if not marker.exists():
                self.programs[name].main(argv)
                marker.write_text("")

    def result(self):
        # inputs.json holds the times of files; a picture and a report are no results.
        paths = [path for path in sorted((self.folder / "data").rglob("*")) if path.is_file()]
        kept = [p for p in paths if p.name != "inputs.json" and p.suffix != ".png" and not p.name.startswith(".")]
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in kept}


WORKS = {"train": Training, "ranks": Ranks, "decode": Decoding, "prepare": Preparation}


def fork(run, log):
    """Start `run()` in a process of its own session, with its output added to `log`; returns its number."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        files._cleared.clear()  # as in a process that has just begun
        os.setsid()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = open(1, "w", 1, closefd=False), open(2, "w", 1, closefd=False)  # noqa: SIM115
        run()
        ignore_signals()  # as at the exit of a program
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        ignore_signals()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def wait(child, seconds):
    """The exit status of a child (128 + signal), or None when it is still there after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if time.monotonic() > deadline:
            return None
        time.sleep(0.001)


def text_of(log):
    """What a log holds; nothing where its process was disturbed before it began."""
    return log.read_text(errors="replace") if log.exists() else ""


def where(log):
    """After which line of its log a process was disturbed, without time, folders and numbers."""
    lines = text_of(log).splitlines()
    line = re.sub(r"^\d+-\S+ \S+ ", "", lines[-1]) if lines else "start"
    return re.sub(r"\d+", "N", re.sub(r"\S*/", "", line))[:24]


def stress(work, number, sign, seed=0, seconds=float("inf"), report=print):
    """Disturb `work` `number` times, or for `seconds`; raises AssertionError where it makes a difference.

    Args:
        work: what is disturbed.
        number: of disturbances.
        sign: the signal: SIGKILL once, others every millisecond until the process is gone.
        seed: of the moments.
        seconds: after which no new run is begun.
        report: gets lines about the progress.

    Returns:
        How many disturbances there were.
    """
    generator, log = random.Random(seed), work.folder.with_name("log.txt")
    log.unlink(missing_ok=True)
    work.clear()
    with open(log, "w") as file, contextlib.redirect_stdout(file):
        work.run()  # here, so that all is loaded
    wanted = work.result()
    began = time.monotonic()
    work.clear()
    assert wait(fork(work.run, log), 300) == 0, text_of(log)
    assert work.result() == wanted, "two undisturbed runs differ"
    span = time.monotonic() - began
    report(f"undisturbed: {span:.2f} s")
    moments = collections.Counter()
    done = runs = 0
    while done < number and time.monotonic() - began < seconds:
        work.clear()
        whole = time.monotonic()
        while True:
            log.unlink(missing_ok=True)
            child = fork(work.run, log)
            status = wait(child, generator.uniform(0, span) if done < number else 300)
            if status is None:
                done, whole = done + 1, -float("inf")
                moments[where(log)] += 1
                status = disturb(child, sign)
                if sign != signal.SIGKILL and hasattr(work, "check") and "beginning with" in text_of(log):
                    if status == 128 + sign != exit_status(sign):
                        # Python's own handler is back once the training has ended: then nothing may be missing.
                        found = difference(work.result(), wanted)
                        assert not found, f"status {status}: {found}; {text_of(log)}"
                    else:
                        assert status in (0, exit_status(sign)), f"status {status}: {text_of(log)}"
                    work.check()
            elif status == 0:
                break
            else:
                raise AssertionError(f"status {status}: {text_of(log)}")
        runs, span = runs + 1, min(span, time.monotonic() - whole)
        found = difference(work.result(), wanted)
        assert not found, f"another result after {done} disturbances: {found}"
        assert not work.left(), work.left()
        report(f"{done} disturbances in {runs} runs, all as undisturbed; {time.monotonic() - began:.0f} s")
    report(f"last lines of the logs: {json.dumps(moments.most_common(), ensure_ascii=False)}")
    return done


def difference(one, two, path="result"):
    """Where two results differ first; empty where they don't."""
    if type(one) is type(two) and isinstance(one, (dict, list, tuple)) and len(one) == len(two):
        keys = one if isinstance(one, dict) else range(len(one))
        if not isinstance(one, dict) or one.keys() == two.keys():
            return next(filter(None, (difference(one[k], two[k], f"{path}[{k!r}]") for k in keys)), "")
    if isinstance(one, dict) and isinstance(two, dict):
        return f"{path}: {sorted(one.keys() ^ two.keys())} in one of the two alone"
    return "" if one == two else f"{path}: {str(one)[:200]} and {str(two)[:200]}"


def disturb(child, sign):
    """Send the signal until the process is gone; returns its status. Its children may not outlive it."""
    if sign == signal.SIGKILL:
        os.kill(child, sign)
        return wait(child, 60)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        os.kill(child, sign)
        status = wait(child, 0.001)
        if status is not None:
            return status
    raise AssertionError("it does not end")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--number", type=int, default=100, help="disturbances (default: 100)")
    parser.add_argument("--signal", default="KILL", choices=["KILL", "TERM", "INT", "USR1"])
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no new run after that time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="empty folder to work in (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.out or temporary).resolve()
        work = make_work(options.work, folder)
        sign = signal.Signals[f"SIG{options.signal}"]
        stress(work, options.number, sign, options.seed, options.seconds, report_line)


def report_line(line):
    print(line, flush=True)


def make_work(name, folder):
    """The work of a name below `folder`, on the data of test/conftest.py."""
    conftest = load(TEST / "conftest.py")
    toy = Path(folder) / "toy"
    if not toy.exists():
        toy.mkdir(parents=True)
        conftest.make_toy(toy)
    return WORKS[name](Path(folder) / name, toy, conftest.make_argv(toy))


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    main()
