"""Fetches an address of the web. Whether the user allows that, the caller has asked."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO

from rnnt.errors import UserError, one_line

BLOCK = 1 << 20  # bytes
SILENCE = 60.0  # seconds after which a server that sends nothing is given up
PAUSES = (1.0, 4.0, 10.0)  # seconds before each further try
AGAIN = {408, 425, 429}  # and 500 to 599: statuses that may be others a moment later


class _Failed(Exception):
    """A try that failed; `again`: another one may not."""

    def __init__(self, problem: str, again: bool) -> None:
        super().__init__(problem)
        self.again = again


def download(address: str, output: IO[bytes], name: str, seconds: float) -> None:
    """Write what is at an address to `output`; it is tried again where the network or the server fails.

    Args:
        address: http:// or https://; proxies are those of the environment.
        output: an empty file, open for writing.
        name: of the address, for messages.
        seconds: for all tries together.

    Raises:
        UserError: it can't be had.
        OSError: `output` can't be written.
    """
    deadline = time.monotonic() + seconds
    for pause in (*PAUSES, None):
        try:
            for block in _blocks(address, deadline):
                output.write(block)
            return
        except _Failed as error:
            problem, again = str(error), error.again
        if not again:
            raise UserError(f"{name}: can't fetch it: {problem}; correct its address, or put the shard there")
        if time.monotonic() >= deadline:
            raise UserError(f"{name}: not fetched within {seconds:g} s: {problem}; raise --shard-timeout")
        if pause is None:
            break
        time.sleep(min(pause, max(deadline - time.monotonic(), 0)))
        output.seek(0)
        output.truncate()
    raise UserError(
        f"{name}: can't fetch it, tried {len(PAUSES) + 1} times: {problem}; start again when the server answers"
    )


def _blocks(address: str, deadline: float) -> Iterator[bytes]:
    try:
        left = max(deadline - time.monotonic(), 0.1)
        request = urllib.request.Request(address, headers={"User-Agent": "rnnt", "Accept-Encoding": "identity"})
        with _opener().open(request, timeout=min(SILENCE, left)) as response:
            length, done = response.headers.get("Content-Length"), 0
            while block := response.read1(BLOCK):
                done += len(block)
                yield block
                if time.monotonic() > deadline:
                    raise _Failed(f"{done} bytes so far", again=True)
        if length is not None and length.isdecimal() and done != int(length):
            raise _Failed(f"it ended after {done} of {length} bytes", again=True)
    except urllib.error.HTTPError as error:
        again = error.code in AGAIN or 500 <= error.code < 600
        raise _Failed(f"status {error.code} {one_line(error.reason)}", again) from None
    except http.client.InvalidURL as error:
        raise _Failed(one_line(error) if "@" not in address else "it holds a password", again=False) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        unsafe = isinstance(reason, ssl.SSLCertVerificationError)
        raise _Failed(one_line(getattr(reason, "strerror", None) or reason), again=not unsafe) from None
    except ValueError as error:  # an address that is none
        raise _Failed(one_line(error), again=False) from None


def _opener() -> urllib.request.OpenerDirector:
    """One that knows nothing but the web: no redirection leads to a file of this machine or to other protocols."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener
