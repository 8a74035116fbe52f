"""The server: the words of a stream, sherpa-onnx's protocol, and clients that break the rules harm nobody else."""

import asyncio
import contextlib
import json
import signal
import socket as socket_module
import subprocess
import sys
import threading
import time
import types
import urllib.error
import urllib.request

import numpy as np
import pytest

from rnnt import export_model, train
from rnnt.options import make
from rnnt.streaming.config import ServerConfig
from rnnt.streaming.server import Refused, Server

websockets = pytest.importorskip("websockets")
from websockets.sync.client import connect  # noqa: E402

LIMITS = {"model": "m", "sampling_rate": 8000}
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def speak(address, samples, path="", size=1000):
    """All messages that come for the samples."""
    with connect(f"ws://{address}/{path}") as socket:
        for begin in range(0, len(samples), size):
            socket.send(samples[begin : begin + size].astype("<f4").tobytes())
        socket.send("Done")
        messages = []
        while (message := socket.recv(timeout=30)) != "Done!":
            messages.append(json.loads(message))
        return messages


def test_the_words_of_a_stream(served, sound):
    recognizer, address = served
    samples = sound(3.0, 1)
    wanted = recognizer.transcribe(samples, 8000).channels[0]
    messages = speak(address, samples)
    last = messages[-1]
    assert last["text"] == wanted.text and wanted.text
    assert last["is_final"] and last["is_eof"] and last["segment"] == 0 and last["start_time"] == 0
    assert len(last["tokens"]) == len(last["timestamps"])
    assert [w[0] for w in last["words"]] == [w.word for w in wanted.words]
    for message in messages[:-1]:
        assert not message["is_final"] and message["text"].startswith(message["stable"])
        assert last["text"].startswith(message["stable"])
    # Another rate, said in the address.
    other = speak(address, np.repeat(samples, 2), "?sampling_rate=16000")[-1]["text"]
    assert other == recognizer.transcribe(np.repeat(samples, 2), 16000).channels[0].text


def test_many_clients_at_once(served, sound):
    recognizer, address = served
    audio = [sound(1.0 + 0.5 * i, i) for i in range(4)]
    found = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: speak(address, audio[i], size=500)[-1]["text"]}))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {i: recognizer.transcribe(audio[i], 8000).channels[0].text for i in range(4)}


@pytest.mark.parametrize(
    "message, path, code",
    [
        (b"\0" * 7, "", 1003),
        ("hello", "", 1003),
        (np.full(100, np.nan, "<f4").tobytes(), "", 1003),
        (b"\0" * (2 << 20), "", 1009),
        (np.zeros(80_000, "<f4").tobytes(), "", 1009),  # 10 s of 8
        (None, "?sampling_rate=7", 1003),
        (None, "", 1008),  # says nothing
    ],
)
def test_clients_that_break_the_rules_are_closed(served, sound, message, path, code):
    recognizer, address = served
    samples = sound(1.0, 3)
    with connect(f"ws://{address}/{path}", max_size=None) as socket:
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            if message is not None:
                socket.send(message)
            while True:
                socket.recv(timeout=20)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == code, caught.value
    assert speak(address, samples)[-1]["text"] == recognizer.transcribe(samples, 8000).channels[0].text


def test_too_many_clients_and_pages(served, sound):
    _, address = served
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(connect(f"ws://{address}"))
        with pytest.raises(websockets.exceptions.InvalidStatus, match="503"), connect(f"ws://{address}"):
            pass
    page = urllib.request.urlopen(f"http://{address}/").read().decode()
    assert "<title>Live captions</title>" in page and "http" not in page.replace("https:", "")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{address}/other")


def test_a_client_that_breaks_off_is_forgotten(served, sound):
    recognizer, address = served
    with connect(f"ws://{address}") as socket:
        socket.send(np.zeros(4000, "<f4").tobytes())
        socket.socket.shutdown(2)
    samples = sound(1.0, 3)
    assert speak(address, samples)[-1]["text"] == recognizer.transcribe(samples, 8000).channels[0].text


@pytest.mark.parametrize("server", [{"max_connections": 40}], indirect=True)
def test_sixty_clients_that_misbehave_harm_nobody(served, server, sound, capfd):
    recognizer, address = served
    host, port = address.split(":")
    samples = sound(2.0, 3)
    wanted = recognizer.transcribe(samples, 8000).channels[0].text
    with contextlib.ExitStack() as stack:
        for i in range(60):
            raw = stack.enter_context(socket_module.create_connection((host, int(port))))
            if i % 3 == 0:  # no handshake: it stalls, sends garbage, or breaks off
                raw.sendall((b"", b"GET / HT", bytes(range(256)))[i // 3 % 3])
                if i % 2:
                    raw.close()
                continue
            raw.sendall(HANDSHAKE)
            assert raw.recv(1000).startswith(b"HTTP/1.1 101")
            if i % 3 == 1:  # a broken frame; half a frame and then nothing
                raw.sendall((b"\xff" * 50, b"\x82\xfe\x10\x00" + b"\0" * 100)[i % 2])
            else:  # breaks off in the middle of audio
                raw.sendall(b"\x82\xfe\x10\x00" + b"\0" * (4 + 4096))
                raw.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                raw.close()
        assert speak(address, samples)[-1]["text"] == wanted
        deadline = time.monotonic() + 20
        while server.sessions and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not server.sessions
    assert speak(address, samples)[-1]["text"] == wanted
    assert capfd.readouterr().err == ""


def test_a_client_that_does_not_read_is_closed(lstm):
    class Deaf:
        request = types.SimpleNamespace(path="/")

        async def recv(self):
            await asyncio.sleep(0.01)
            return np.zeros(1000, "<f4").tobytes()

        async def send(self, message):
            await asyncio.sleep(60)

    async def main():
        server = Server(lstm.streaming(), make(ServerConfig, **{**LIMITS, "idle_seconds": 0.2}))
        tasks = [asyncio.create_task(work) for work in (server._decode(), server._watch())]
        with pytest.raises(Refused, match="nothing was read for 0.2 s"):
            await asyncio.wait_for(server._converse(Deaf()), 20)
        assert not server.sessions
        for task in tasks:
            task.cancel()

    asyncio.run(main())


def test_a_failure_of_the_model_ends_the_streams_it_was_for(served, server, sound, capfd, monkeypatch):
    recognizer, address = served
    samples = sound(1.0, 3)
    with monkeypatch.context() as patch, pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
        patch.setattr(server.recognizer, "decode", lambda streams: 1 / 0)
        speak(address, samples)
    assert caught.value.rcvd.code == 1011
    assert capfd.readouterr().err == "error: division by zero\n"
    assert speak(address, samples)[-1]["text"] == recognizer.transcribe(samples, 8000).channels[0].text


@pytest.mark.slow
def test_the_program_ends_in_good_order(toy_argv, tmp_path):
    train.main(toy_argv(tmp_path / "exp", num_epochs=1))
    export_model.main(["--exp-dir", str(tmp_path / "exp"), "--out", str(tmp_path / "model")])
    command = [sys.executable, "-m", "rnnt.transcription.serve", "--model", str(tmp_path / "model"), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = process.stdout.readline().split("http://")[1].strip()
    with connect(f"ws://{address}") as socket:
        socket.send(np.zeros(16000, "<f4").tobytes())
        socket.recv(timeout=30)
        silent = socket_module.create_connection(address.split(":"))  # no handshake
        process.send_signal(signal.SIGTERM)
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            while True:
                socket.recv(timeout=20)
        assert caught.value.rcvd.code == 1001
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    silent.close()
    taken = socket_module.create_server(("127.0.0.1", 0))
    command[-1] = str(taken.getsockname()[1])
    refused = subprocess.run(command, capture_output=True, text=True)
    taken.close()
    assert refused.returncode == 1 and "choose another --port" in refused.stderr and refused.stderr.count("\n") == 1
