"""Servers of streaming recognisers, each in a process of its own, for streaming_load.py."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rnnt.distributed.launch import free_port
from rnnt.errors import UserError


@contextlib.contextmanager
def serving(model: str, most: int) -> Iterator[tuple[str, int]]:
    """The address and the process of serve.py."""
    command = [sys.executable, "-m", "rnnt.transcription.serve", "--model", model, "--port", "0", "--device", "cpu"]
    command += ["--max-connections", str(most), "--max-sym-per-frame", "1", "--idle-seconds", "10"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split("http://")[1].strip(), process.pid
    finally:
        process.terminate()
        print("serve.py ended with status", process.wait(30))


@contextlib.contextmanager
def serving_sherpa(program: str, onnx: str, rate: int, batch: int) -> Iterator[tuple[str, int]]:
    """The same of sherpa-onnx's server, with a thread for each core."""
    features = json.loads((Path(onnx) / "config.json").read_text(encoding="utf-8"))["features"]
    port, cores = free_port(), os.cpu_count()
    command = [program, f"--port={port}", "--num-threads=1", f"--num-work-threads={cores}", f"--max-batch-size={batch}"]
    command += [f"--sample-rate={features['sampling_rate']}", f"--feat-dim={features['num_mel_bins']}"]
    command += [f"--input-sample-rate={rate}", "--enable-endpoint=1", f"--tokens={onnx}/tokens.txt"]
    command += [f"--{name}={onnx}/{name}.onnx" for name in ("encoder", "decoder", "joiner")]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([*command, f"--log-file={folder}/log"], stdout=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            if process.returncode is not None:
                raise UserError(f"{program} ended with status {process.returncode}, see above")
            yield f"127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            process.wait(30)
