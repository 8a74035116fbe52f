"""Time per update of two ranks that a slow link joins: exchange during and after the backward pass, and plain DDP.

    sudo python benchmarks/exchange.py                         two network namespaces, a link of 1 Gbit/s
    python benchmarks/exchange.py --link none                  both ranks on this machine's loopback

An update is forward, backward and exchange of a model of equal linear layers on random numbers, with the number of
parameters of a real one; the widths are such that computing takes about as long as sending. The three ways take turns,
several rounds in one run; medians count. `after` sends all buckets after the backward pass, as this project did before.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

RANKS = 2
ADDRESS = "10.77.0."


def open_link(rate: str) -> list[str]:
    """Two namespaces joined by a pair of devices, each of which sends at `rate` at most."""
    names = [f"rnnt-{os.getpid()}-{rank}" for rank in range(RANKS)]
    devices = [f"rnnt{rank}" for rank in range(RANKS)]
    commands = [f"ip netns add {name}" for name in names]
    commands.append(f"ip link add {devices[0]} netns {names[0]} type veth peer name {devices[1]} netns {names[1]}")
    for rank, (name, device) in enumerate(zip(names, devices)):
        inside = f"ip netns exec {name}"
        commands += [
            f"{inside} ip addr add {ADDRESS}{rank + 1}/24 dev {device}",
            f"{inside} ip link set {device} up",
            f"{inside} ip link set lo up",
            f"{inside} tc qdisc add dev {device} root tbf rate {rate} burst 256kb latency 50ms",
        ]
    for command in commands:
        subprocess.run(command.split(), check=True)
    return names


def close_link(names: list[str]) -> None:
    """Remove the namespaces, and the devices with them."""
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=False)


def rank_main(args: argparse.Namespace) -> None:
    """One rank: all ways, in turns."""
    import torch
    import torch.distributed as dist
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    from rnnt.distributed.world import World
    from rnnt.training.exchange import GradientExchange

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://{args.master}", rank=args.rank, world_size=RANKS)
    world = World(args.rank, RANKS, torch.device("cpu"), ())

    def make_model() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(*[m for _ in range(args.layers) for m in (nn.Linear(args.width, args.width), nn.ReLU())])

    torch.manual_seed(1 + args.rank)
    x = torch.randn(args.rows, args.width)
    plain = DistributedDataParallel(make_model())

    def with_ddp() -> None:
        plain.zero_grad(set_to_none=True)
        plain(x).square().mean().backward()

    def ours(overlap: bool, half: bool):  # type: ignore[no-untyped-def]
        model = make_model()
        exchange = GradientExchange(model.parameters(), world, half)

        def update() -> None:
            model.zero_grad(set_to_none=True)
            loss = model(x).square().mean()
            if overlap:
                exchange.overlap()
            loss.backward()
            exchange.finish()

        return update

    ways = {"plain DDP": with_ddp, "during": ours(True, False), "after": ours(False, False),
            "during, bfloat16": ours(True, True)}  # fmt: skip
    alone = make_model()
    seconds: dict[str, list[float]] = {name: [] for name in ["computing alone", *ways]}

    def compute() -> None:
        alone.zero_grad(set_to_none=True)
        alone(x).square().mean().backward()

    for number in range(args.rounds + 1):
        for name, update in {"computing alone": compute, **ways}.items():
            dist.barrier()
            start = time.perf_counter()
            update()
            if number:  # the first warms up
                seconds[name].append(time.perf_counter() - start)
    if args.rank == 0:
        size = sum(p.numel() for p in alone.parameters())
        print(f"{size / 1e6:.1f} M parameters, {4 * size / 1e6:.0f} MB of gradients, link {args.rate or 'loopback'}")
        median = {name: statistics.median(values) for name, values in seconds.items()}
        for name, value in median.items():
            print(f"{name:18}{1000 * value:9.1f} ms{value / median['plain DDP']:8.3f} of plain DDP")
        print(f"after / during: {median['after'] / median['during']:.2f}")
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--link", choices=["namespaces", "none"], default="namespaces")
    parser.add_argument("--rate", default="1gbit", help="of the link, as tc writes it")
    parser.add_argument("--layers", type=int, default=24, help="linear layers")
    parser.add_argument("--width", type=int, default=512, help="inputs and outputs of each")
    parser.add_argument("--rows", type=int, default=3000, help="of the input: more of them, more computing")
    parser.add_argument("--rounds", type=int, default=10, help="updates of each way")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--master", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank is not None:
        rank_main(args)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the link is removed
    names: list[str] = []
    if args.link == "namespaces":
        if os.geteuid() or not shutil.which("ip") or not shutil.which("tc"):
            parser.error("network namespaces need root, ip and tc; --link none does without")
        names = open_link(args.rate)
    else:
        args.rate = ""
    try:
        script = [sys.executable, str(Path(__file__).resolve()), f"--rate={args.rate}"]
        script += [f"--{name}={getattr(args, name)}" for name in ("layers", "width", "rows", "rounds")]
        ranks = []
        for rank in range(RANKS):
            inside = ["ip", "netns", "exec", names[rank]] if names else []
            master = f"{ADDRESS}1:29500" if names else "127.0.0.1:29500"
            device = {"GLOO_SOCKET_IFNAME": f"rnnt{rank}"} if names else {}
            command = [*inside, *script, f"--rank={rank}", f"--master={master}"]
            ranks.append(subprocess.Popen(command, env={**os.environ, **device}))
        sys.exit(max(rank.wait() for rank in ranks))
    finally:
        close_link(names)


if __name__ == "__main__":
    main()
