"""tools/find_wheel.py: the right wheel from a page of links, in bounded time."""

import functools
import http.server
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

FIND_WHEEL = Path(__file__).parents[2] / "tools" / "find_wheel.py"
TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
MACHINE = platform.machine()


def wheel(version, variant, tag=TAG, machine=MACHINE, package="k2"):
    return f"{package}-{version}%2B{variant}-{tag}-{tag}-manylinux_2_27_{machine}.manylinux_2_28_{machine}.whl"


PAGE = "\n".join(
    f'<a href="{address}">{address}</a><br/>'
    for address in [
        "https://example.org/cpu/" + wheel("1.24.4.dev20250715", "cpu.torch2.7.1"),
        "https://example.org/cpu/" + wheel("1.24.4.dev20250807", "cpu.torch2.8.0"),
        "https://example.org/cpu/" + wheel("1.24.4.dev20251118", "cpu.torch2.8.0"),
        "https://example.org/cpu/" + wheel("1.24.4.dev20260101", "cpu.torch2.8.0", tag="cp38"),
        "https://example.org/cpu/" + wheel("1.24.4.dev20260101", "cpu.torch2.8.0", machine="sparc"),
        "https://example.org/cpu/" + wheel("1.24.4.dev20260101", "cpu.torch2.8.0").replace("manylinux", "win"),
        "https://example.org/cpu/" + wheel("1.9", "cpu.torch2.8.0", package="k2_other"),
        "files/" + wheel("1.25.0", "cuda12.8.torch2.8.0"),
        "k2-readme.html",
    ]
)


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if "slow" in self.path:
            time.sleep(30)  # the client is gone by then
        else:
            super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    (tmp_path / "k2.html").write_text(PAGE)
    handler = functools.partial(Handler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def find(page, *arguments):
    command = [sys.executable, str(FIND_WHEEL), page, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=25, env={"no_proxy": "*"})


def test_newest_wheel_of_this_python_and_torch(server):
    result = find(f"{server}/k2.html", "--package", "k2", "--variant", "cpu.torch2.8.0")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "https://example.org/cpu/" + wheel("1.24.4.dev20251118", "cpu.torch2.8.0")


def test_relative_addresses_are_completed(server):
    result = find(f"{server}/k2.html", "--package", "k2", "--variant", "cuda12.8.torch2.8.0")
    assert result.stdout.strip() == f"{server}/files/" + wheel("1.25.0", "cuda12.8.torch2.8.0")


@pytest.mark.parametrize(
    "page, arguments, part",
    [
        ("k2.html", ["--variant", "cpu.torch2.9.0"], "lists no k2 for cpu.torch2.9.0 " + TAG),
        ("none.html", [], "File not found"),
        ("slow.html", ["--timeout", "0.5"], "no answer in 0.5 s"),
    ],
)
def test_no_wheel_is_one_line(server, page, arguments, part):
    result = find(f"{server}/{page}", "--package", "k2", *arguments)
    assert (result.returncode, result.stdout) == (1, "")
    assert part in result.stderr and result.stderr.count("\n") == 1


def test_unknown_host_and_bad_address():
    assert find("http://no-such-host.invalid/", "--package", "k2").returncode == 1
    assert find("nonsense", "--package", "k2").stderr.startswith("nonsense: ")
