"""Chromium without a window, by its protocol for debuggers: for tests that look at pages as their readers do."""

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream", "--remote-debugging-port=0", "--window-size=400,800",
]  # fmt: skip


class Tab:
    """A page."""

    def __init__(self, socket):
        self.socket, self.number = socket, 0

    def call(self, method, **parameters):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=30))
            if message.get("id") == self.number:
                return message["result"]

    def run(self, code):
        done = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait_for(self, code):
        for _ in range(300):
            if self.run(code):
                return
            time.sleep(0.1)
        raise AssertionError(f"{code}: never; the page says {self.run('document.body.innerText')!r}")

    def look(self, width, scheme):
        """See the page `width` pixels wide, `light` or `dark`."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path, height=None):
        """Write the page as it looks, as PNG."""
        height = height or self.run("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": self.run("innerWidth"), "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def open_tab(address, folder, *flags):
    """The `Tab` of a page; what the browser keeps is in `folder`."""
    from websockets.sync.client import connect

    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", *flags, address]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port_file = folder / "DevToolsActivePort"
        for _ in range(300):
            if port_file.exists() and port_file.read_text().count("\n"):
                break
            time.sleep(0.1)
        port = port_file.read_text().split()[0]
        pages = []
        while not pages:
            listed = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
            pages = [page for page in listed if page["url"].startswith(address)]
        with connect(pages[0]["webSocketDebuggerUrl"], max_size=None) as socket:
            tab = Tab(socket)
            # The first document of a tab is an empty one.
            tab.wait_for(f"location.href.startsWith({address!r}) && document.readyState === 'complete'")
            yield tab
    finally:
        browser.terminate()
        browser.wait(20)
