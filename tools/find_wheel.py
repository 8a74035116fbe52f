#!/usr/bin/env python3
"""Finds, on a page of links, the wheel of a package for this Python and an exact torch, and prints its address.

    find_wheel.py https://k2-fsa.github.io/k2/cpu.html --package k2 --variant cpu.torch2.8.0

Exit status 1 and one line on stderr when the page does not answer or has no such wheel. Standard library only.
"""

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
    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attributes):
        if tag == "a":
            self.addresses.extend(value for name, value in attributes if name == "href" and value)


def links(page, base):
    """Absolute addresses that an HTML page links to, in its order."""
    parser = _Links()
    parser.feed(page)
    return [urllib.parse.urljoin(base, address) for address in parser.addresses]


def python_tag():
    """The tag of this interpreter in the names of wheels, as in cp311."""
    return f"cp{sys.version_info[0]}{sys.version_info[1]}"


def _key(version):
    """A version for sorting: numbers by value, words before numbers, as in 1.24.4.dev20250807."""
    parts = version.replace("+", ".").replace("dev", "dev.").split(".")
    return [(1, int(p), "") if p.isdigit() else (0, 0, p) for p in parts]


def choose(addresses, package, variant, tag, machine, system="linux"):
    """The newest matching wheel among `addresses`, or None.

    `variant` is the local version (after `+`), as in cpu.torch2.8.0; empty: any.
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


def fetch(address, timeout):
    """The text of a page, within `timeout` seconds in all. Raises OSError with the reason."""
    result = {}

    def work():
        try:
            with urllib.request.urlopen(address, timeout=timeout) as answer:
                result["text"] = answer.read().decode("utf-8", "replace")
        except (OSError, ValueError) as error:
            result["error"] = getattr(error, "reason", None) or error

    # A thread, since neither the look-up of a name nor a slow trickle of bytes heeds the socket's timeout.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout)
    if "text" in result:
        return result["text"]
    raise OSError(str(result.get("error", f"no answer in {timeout:g} s")))


def main(argv=None):
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
    # A thread that still waits for the network must not hold up the exit.
    os._exit(status)
