#!/usr/bin/env python3
"""Find the wheel of a package for this Python and an exact torch on a page of links, and print its address.

    find_wheel.py https://k2-fsa.github.io/k2/cpu.html --package k2 --variant cpu.torch2.8.0

Exit status 1 and one line on stderr when the page does not answer or has no such wheel. Standard library only.
"""

from __future__ import annotations

import argparse
import html.parser
import os
import platform
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.addresses.extend(value for name, value in attrs if name == "href" and value)


def links(page: str, base: str) -> list[str]:
    """The absolute addresses that an HTML page links to, in order."""
    parser = _Links()
    parser.feed(page)
    return [urllib.parse.urljoin(base, address) for address in parser.addresses]


def python_tag() -> str:
    """The tag of this interpreter in the names of wheels, such as cp311."""
    return f"cp{sys.version_info[0]}{sys.version_info[1]}"


def _key(version: str) -> list[tuple[int, int, str]]:
    """A key to sort versions by: numbers by value, words (1.24.4.dev20250807) before numbers."""
    parts = version.replace("+", ".").replace("dev", "dev.").split(".")
    return [(1, int(p), "") if p.isdigit() else (0, 0, p) for p in parts]


def choose(
    addresses: list[str], package: str, variant: str, tag: str, machine: str, system: str = "linux"
) -> str | None:
    """Choose the newest matching wheel.

    Args:
        addresses: of wheels and other files.
        package: name of the package.
        variant: local version (after `+`), such as cpu.torch2.8.0; empty: any.
        tag: Python's tag, such as cp311.
        machine: name of the architecture.
        system: name of the operating system.

    Returns:
        The address, or None.
    """
    found = []
    for address in addresses:
        name = urllib.parse.unquote(urllib.parse.urlsplit(address).path.rsplit("/", 1)[-1])
        fields = name[: -len(".whl")].split("-") if name.endswith(".whl") else []
        if len(fields) != 5 or fields[0].lower() != package.lower():
            continue
        version, python, platforms = fields[1], fields[2], fields[4]
        _, _, local = version.partition("+")
        if python == tag and system in platforms and machine in platforms and (not variant or local == variant):
            found.append((_key(version), address))
    return max(found)[1] if found else None


def fetch(address: str, timeout: float) -> str:
    """Fetch the text of a page within `timeout` seconds in total; raises `OSError` with the reason."""
    result: dict[str, str] = {}

    def work() -> None:
        try:
            with urllib.request.urlopen(address, timeout=timeout) as answer:
                result["text"] = answer.read().decode("utf-8", "replace")
        except (OSError, ValueError) as error:
            result["error"] = str(getattr(error, "reason", None) or error)

    # A thread, because the timeout of the socket limits neither the look-up of a name nor a slow trickle of bytes.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout)
    if "text" in result:
        return result["text"]
    raise OSError(result.get("error", f"no answer in {timeout:g} s"))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", help="address of the page")
    parser.add_argument("--package", required=True, help="name of the package")
    parser.add_argument("--variant", default="", help="local version of the wheel, after the + (default: any)")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds to wait for the page (default: 10)")
    args = parser.parse_args(argv)
    host = urllib.parse.urlsplit(args.page).netloc or args.page
    try:
        page = fetch(args.page, args.timeout)
    except OSError as error:
        print(f"{host}: {error}", file=sys.stderr)
        return 1
    wheel = choose(links(page, args.page), args.package, args.variant, python_tag(), platform.machine())
    if wheel is None:
        wanted = " ".join(filter(None, [args.variant, python_tag(), platform.machine()]))
        print(f"{host}: lists no {args.package} for {wanted}", file=sys.stderr)
        return 1
    print(wheel)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # A thread that still waits for the network must not delay the exit.
    os._exit(status)
