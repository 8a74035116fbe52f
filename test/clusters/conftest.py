"""A real Slurm and a real Grid Engine on this machine, and a recipe with little data to train on."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def free_ports(number):
    """The first of so many consecutive ports that nobody listens on."""
    for first in range(20000 + os.getpid() % 5000, 60000, 10):
        try:
            for port in range(first, first + number):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise RuntimeError("no free ports")


def wait_for(path, text, seconds=60):
    """Wait until a file holds a text."""
    end = time.monotonic() + seconds
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < end, f"{path}: {path.read_text()[-3000:] if path.exists() else 'not there'}"
        time.sleep(0.1)


class Cluster:
    """A cluster below `folder`, whose `env.sh` says how to reach it."""

    def __init__(self, kind, folder, **options):
        self.kind, self.folder = kind, folder
        self.port = free_ports(8)
        environment = {**os.environ, "PORT": str(self.port), "KILL_WAIT": "20", **options}
        command = [HERE / f"start_{kind}.sh", folder]
        started = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        if started.returncode != 0:
            self.stop()
            pytest.fail(f"{started.stdout[-1000:]}{started.stderr[-2000:]}")
        text = subprocess.check_output(["bash", "-c", f". {folder}/env.sh; env -0"], text=True)
        self.environment = dict(item.split("=", 1) for item in text.split("\0") if item)

    def stop(self):
        subprocess.run([HERE / f"stop_{self.kind}.sh", self.folder], timeout=120)

    wait_for = staticmethod(wait_for)

    def popen(self, folder, *arguments):
        """Start a launcher or another program in a folder."""
        words = [str(word) for word in arguments]
        if words[0].endswith(".pl"):
            words = [sys.executable, str(ROOT / "utils" / words[0]), *words[1:]]
        return subprocess.Popen(
            words, cwd=folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, folder, *arguments, timeout=100):
        """Run it; returns (exit status, output, errors)."""
        process = self.popen(folder, *arguments)
        try:
            out, errors = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return process.returncode, out, errors


def start(kind, programs, tmp_path_factory, **options):
    missing = [program for program in programs if not shutil.which(program)]
    if os.getuid() != 0 or missing:
        pytest.skip(f"needs root and {', '.join(missing) or 'its programs'}; test/clusters/install.sh installs them")
    cluster = Cluster(kind, tmp_path_factory.mktemp(kind), **options)
    yield cluster
    cluster.stop()


def need_login_shell():
    """Skip where a login shell hangs: Slurm starts one for each job with --export, and the job waits for it."""
    try:
        subprocess.run(["su", "-", "root", "-c", "true"], stdin=subprocess.DEVNULL, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(
            "a login shell of root takes longer than 20 s; look at its profile (a stale lock of pyenv, perhaps)"
        )


SLURM = ["/usr/sbin/slurmctld", "/usr/sbin/slurmd", "/usr/sbin/munged", "sbatch", "srun"]


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    need_login_shell()
    yield from start("slurm", SLURM, tmp_path_factory)


@pytest.fixture
def slurm_on_a_network(tmp_path_factory):
    """A Slurm whose nodes are network namespaces."""
    made = (
        shutil.which("ip") and subprocess.run(["ip", "netns", "add", "rnnt-try"], capture_output=True).returncode == 0
    )
    if not made:
        pytest.skip("needs the right to make network namespaces (ip netns add)")
    subprocess.run(["ip", "netns", "del", "rnnt-try"], check=True)
    need_login_shell()
    yield from start("slurm", [*SLURM, "nsenter"], tmp_path_factory, NETWORK="true", KILL_WAIT="3")


@pytest.fixture(scope="session")
def grid_engine(tmp_path_factory):
    programs = [f"/usr/lib/gridengine/{name}" for name in ("sge_qmaster", "sge_execd", "qsub", "spoolinit")]
    yield from start("grid_engine", programs, tmp_path_factory)


TRAINING = (
    "--num-epochs 3 --threads 1 --max-duration 10 --log-interval 1 --encoder-dim 32 --predictor-dim 16 --joiner-dim 16"
)


class Recipe:
    """A copy of the digits recipe, with data to train a model of two ranks on."""

    def __init__(self, folder):
        self.folder = folder
        self.cmd = (folder / "cmd.sh").read_text()

    def use(self, old, new, interface="lo"):
        """Change cmd.sh, as the user of a cluster does, and name the interface of the network."""
        assert old in self.cmd
        (self.folder / "cmd.sh").write_text(self.cmd.replace(old, new))
        (self.folder / "local" / "path.sh").write_text(f"export GLOO_SOCKET_IFNAME={interface}\n")

    def training(self, exp_dir, options=""):
        """The command that trains."""
        words = [
            "--stage",
            1,
            "--stop-stage",
            1,
            "--world-size",
            2,
            "--exp-dir",
            exp_dir,
            "--train-opts",
            f"{TRAINING} {options}",
        ]
        return [self.folder / "run.sh", *words]

    def weights(self, exp_dir):
        """The bytes of all parameters after the last epoch, by name."""
        import torch

        model = torch.load(self.folder / exp_dir / "epoch-3.pt", map_location="cpu", weights_only=False)["model"]
        return {name: tensor.numpy().tobytes() for name, tensor in model.items()}


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    """A `Recipe` with a few utterances of noise, prepared."""
    from rnnt.data.audio import write_audio

    top = tmp_path_factory.mktemp("recipe")
    folder = top / "egs" / "digits" / "ASR"
    for name in ("rnnt", "local", "utils", "tools", "setup.py"):
        (top / name).symlink_to(ROOT / name)
    source = ROOT / "egs" / "digits" / "ASR"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("data", "exp", "__pycache__"))
    recordings = top / "recordings"
    recordings.mkdir()
    generator = np.random.default_rng(0)
    for digit in range(10):
        for speaker in ("anna", "theo", "zoe"):
            for index in (0, 5, 10, 11):
                samples = 0.1 * generator.standard_normal(1600 + 50 * digit + index)
                write_audio(recordings / f"{digit}_{speaker}_{index}.wav", samples.astype(np.float32), 8000)
    (folder / "data" / "corpus").mkdir(parents=True)
    text = f'{{"kind": "folder", "path": "{recordings}", "held_out_speakers": ["theo"]}}'
    (folder / "data" / "corpus" / "source.json").write_text(text)
    few = "--num-test 8 --num-dev 6 --num-train 60 --num-train-short 20 --num-newspeaker 5"
    script = f"""
        . ./path.sh &&
        python3 local/make_manifests.py --corpus data/corpus --out data/manifests {few} &&
        ./prepare.sh --stage 2 --stop-stage 6 --perturb-speed "" --nj 1"""
    made = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    return Recipe(folder)


@pytest.fixture(scope="session")
def undisturbed(recipe):
    """The weights after a training of two ranks on this machine that nothing interrupted."""
    words = [str(word) for word in recipe.training("exp/local")]
    result = subprocess.run(words, cwd=recipe.folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return recipe.weights("exp/local")
