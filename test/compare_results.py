"""Records what a checkout computes on the digits, and compares two recordings number by number.

A redesign must change nothing in what is computed. Record before and after it, with the same prepared data:

    python test/compare_results.py record CHECKOUT OUT --data egs/digits/ASR/data    (4 minutes on two cores)
    python test/compare_results.py compare OUT_BEFORE OUT_AFTER

Recorded are the weights after 60 updates of one process and of two, the losses and gradients of the k2 fixtures by
every backend, the words, times, confidences and scores of greedy and modified beam search on a set, and the JSON of
transcribe.py. `compare` prints a line for each of them and ends with status 1 where one differs. Tensors are matched by
name; `--renamed OLD=NEW` replaces the beginning of a name of the first recording.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

UPDATES = 60
METHODS = ("greedy_search", "modified_beam_search")


def run(checkout, folder, *words):
    """Run a module of the checkout in `folder`, one thread each, so that sums come in one order."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "UTF-8"}
    print("+", *words, flush=True)
    subprocess.run([sys.executable, *map(str, words)], cwd=folder, env=environment, check=True, stdout=sys.stderr)


def record(checkout, out, data, decode_updates, decode_set):
    """Write all recordings of `checkout` to the new folder `out`."""
    checkout, out, data = Path(checkout).resolve(), Path(out).resolve(), Path(data).resolve()
    out.mkdir(parents=True)
    (out / "data").symlink_to(data)
    (out / "conf").symlink_to(checkout / "egs/digits/ASR/conf")
    (bpe_model,) = sorted(data.glob("lang_bpe_*/bpe.model"))[:1]
    common = ["-m", "rnnt.train", "--config", "conf/train.yaml", "--manifest-dir", "data/cuts", "--dev-set", "dev"]
    common += ["--bpe-model", bpe_model, "--tensorboard", "false", "--threads", 1, "--save-every-n", UPDATES]
    common += ["--keep-last-k", 1000]
    one, two = ["--exp-dir", "one", "--accum-grad", 2], ["--exp-dir", "two", "--accum-grad", 1, "--world-size", 2]
    run(checkout, out, *common, *two, "--max-updates", UPDATES)
    run(checkout, out, *common, *one, "--max-updates", decode_updates)
    which = ["--exp-dir", "one", "--iter", decode_updates]
    for method in METHODS:
        options = ["--decode-sets", decode_set, "--decoding-method", method, "--threads", 1]
        run(checkout, out, "-m", "rnnt.decode", *which, "--manifest-dir", "data/cuts", *options)
    run(checkout, out, "-m", "rnnt.export_model", *which, "--manifest-dir", "data/cuts", "--out", "model")
    with open(data / "cuts" / f"{decode_set}.jsonl", encoding="utf-8") as file:
        sources = [json.loads(line)["recording"]["sources"][0]["source"] for _, line in zip(range(5), file)]
    files = [Path(source).resolve() if Path(source).is_absolute() else data.parent / source for source in sources]
    options = ["--output-format", "json", "--output-dir", "transcripts", "--threads", 1]
    run(checkout, out, "-m", "rnnt.transcribe", "--model", "model", *options, *files)
    run(checkout, out, Path(__file__).resolve(), "losses", "losses.npz")


def record_losses(path):
    """The losses and gradients of the cases that the real k2 computed, by the rnnt.loss of this process."""
    import torch

    from rnnt import loss

    with np.load(Path(__file__).parent / "data" / "k2_transducer_losses.npz") as fixtures:
        arrays = {name: fixtures[name] for name in fixtures.files}
    cases = sorted({name.split("/")[0] for name in arrays})
    found = {}
    for case in cases:
        meta = json.loads(str(arrays[f"{case}/meta"]))
        inputs = {n: torch.from_numpy(arrays[f"{case}/{n}"]) for n in ("am", "lm", "symbols", "boundary")}
        shared = (inputs["boundary"], meta["rnnt_type"], meta["delay_penalty"], "none")
        blank = meta["termination_symbol"]
        for backend in ("native", "reference"):
            am, lm = (inputs[n].clone().requires_grad_() for n in ("am", "lm"))
            scales = (meta["lm_only_scale"], meta["am_only_scale"])
            value, (px_grad, py_grad) = loss.rnnt_loss_smoothed(
                lm, am, inputs["symbols"], blank, *scales, *shared, True, backend=backend
            )
            torch.where(torch.isfinite(value), value, 0.0).sum().backward()
            ranges = loss.get_rnnt_prune_ranges(px_grad, py_grad, inputs["boundary"], meta["s_range"])
            generator = torch.Generator().manual_seed(0)
            logits = torch.randn(*ranges.shape, am.shape[2], generator=generator, dtype=am.dtype).requires_grad_()
            pruned = loss.rnnt_loss_pruned(logits, inputs["symbols"], ranges, blank, *shared, backend=backend)
            torch.where(torch.isfinite(pruned), pruned, 0.0).sum().backward()
            results = {"smoothed": value, "px_grad": px_grad, "py_grad": py_grad, "am_grad": am.grad,
                       "lm_grad": lm.grad, "ranges": ranges, "pruned": pruned, "logits_grad": logits.grad}  # fmt: skip
            found.update({f"{case}/{backend}/{n}": x.detach().numpy() for n, x in results.items()})
    np.savez(path, **found)


def recorded_arrays(folder, renamed):
    """`{name: array}` of all numbers of a recording: weights, optimizer's moments, losses."""
    import torch

    arrays = {}
    for run_name in ("one", "two"):
        state = torch.load(Path(folder) / run_name / f"checkpoint-{UPDATES}.pt", weights_only=True)
        tensors = {**{f"model.{n}": x for n, x in state["model"].items()},
                   **{f"objective.{n}": x for n, x in state.get("objectives", {}).items()}}  # fmt: skip
        for name, tensor in tensors.items():
            for old, new in renamed:
                if name.startswith(old):
                    name = new + name[len(old) :]
            arrays[f"{run_name}/{name}"] = tensor.numpy()
    with np.load(Path(folder) / "losses.npz") as losses:
        arrays.update({f"losses/{name}": losses[name] for name in losses.files})
    return arrays


def recorded_objects(folder):
    """`{name: JSON value}` of all texts of a recording: decoded utterances and transcripts."""
    folder, objects = Path(folder), {}
    for path in sorted(folder.glob("one/decode_*/*/utterances.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            value = json.loads(line)
            objects[f"{path.parts[-3]}/{value['id']}"] = value
    for path in sorted(folder.glob("transcripts/*.json")):
        value = json.loads(path.read_text(encoding="utf-8"))
        objects[f"transcripts/{path.stem}"] = {**value, "audio": Path(value["audio"]).name}
    return objects


def compare(before, after, renamed):
    """Print what differs; returns how many things do."""
    a, b = recorded_arrays(before, renamed), recorded_arrays(after, ())
    groups = {}
    for name in sorted(set(a) | set(b)):
        group = groups.setdefault("/".join(name.split("/")[: 3 if name.startswith("losses") else 1]), [0, []])
        group[0] += 1
        if name not in a or name not in b:
            group[1].append(f"{name}: only {'before' if name in a else 'after'}")
        elif a[name].shape != b[name].shape or not np.array_equal(a[name], b[name], equal_nan=True):
            same_shape = a[name].shape == b[name].shape
            largest = np.nanmax(np.abs(a[name] - b[name])) if same_shape else "shapes differ"
            group[1].append(f"{name}: largest difference {largest}")
    a, b = recorded_objects(before), recorded_objects(after)
    for name in sorted(set(a) | set(b)):
        group = groups.setdefault(name.split("/")[0], [0, []])
        group[0] += 1
        if a.get(name) != b.get(name):
            group[1].append(f"{name}: {json.dumps(a.get(name))[:200]} != {json.dumps(b.get(name))[:200]}")
    for name, (number, different) in groups.items():
        print(f"{name}: {number - len(different)} of {number} the same")
        for line in different[:5]:
            print(f"  {line}")
    return sum(len(different) for _, different in groups.values())


def main():
    """Run the subcommand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    recording = commands.add_parser("record", help="record what a checkout computes")
    recording.add_argument("checkout", help="folder of the checkout")
    recording.add_argument("out", help="new folder for the recording")
    recording.add_argument("--data", required=True, help="data folder of the digits that prepare.sh has made")
    recording.add_argument("--decode-updates", type=int, default=240, help="updates of the model that decodes")
    recording.add_argument("--decode-set", default="test", help="set to decode")
    losses = commands.add_parser("losses", help="record the losses alone")
    losses.add_argument("path", help="file (.npz) to write")
    comparing = commands.add_parser("compare", help="compare two recordings")
    comparing.add_argument("before")
    comparing.add_argument("after")
    comparing.add_argument("--renamed", nargs="*", default=[], metavar="OLD=NEW", help="names that changed")
    arguments = parser.parse_args()
    if arguments.command == "record":
        values = arguments.data, arguments.decode_updates, arguments.decode_set
        record(arguments.checkout, arguments.out, *values)
    elif arguments.command == "losses":
        record_losses(arguments.path)
    else:
        renamed = [tuple(item.split("=")) for item in arguments.renamed]
        sys.exit(compare(arguments.before, arguments.after, renamed) > 0)


if __name__ == "__main__":
    main()
