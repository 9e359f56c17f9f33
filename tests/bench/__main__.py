"""`make bench`: measures everything in one run, prints a table and writes JSON.

Absolute figures vary between machines and hours; compare the ratios to the yardstick, which are
taken within each round. `--quick` takes one short round (its figures are no result, it only shows
that everything runs); `--only path,group,...` leaves parts out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from tests.bench import etcd, group, idle, kv, message_path, moves, yardstick
from tests.bench.stats import Load, Loads, Spread, quantile

PARTS = ("path", "group", "moves", "placement", "memory", "kv")
WRITERS = ((1, 1), (64, 1), (512, 1), (64, 32))
IN_FLIGHT = (1, 64, 512)


@dataclass(slots=True)
class Report:
    """Figures by name, and the sentences of the table."""

    rounds: int
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)
    loads: dict[str, list[Load]] = field(default_factory=dict)
    ratios: dict[str, list[float]] = field(default_factory=dict)

    def load(self, name: str, load: Load, yardstick: Load | None = None) -> Load:
        """One run of a closed loop; with a yardstick of the same round, its ratio to that."""
        self.loads.setdefault(name, []).append(load)
        if yardstick is not None:
            ratio = load.per_second / yardstick.per_second
            self.ratios.setdefault(f"{name} / yardstick 64", []).append(ratio)
        say(f"  {name}: {load.per_second:,.0f}/s p50 {load.p50_ms:.2f} p99 {load.p99_ms:.2f} ms")
        return load

    def pauses(self, name: str, pauses_ms: list[float]) -> None:
        """A sample of pauses."""
        ordered = sorted(pauses_ms)
        self.figures[name] = {
            "count": len(ordered),
            "p50_ms": quantile(ordered, 0.5),
            "p99_ms": quantile(ordered, 0.99),
            "max_ms": ordered[-1],
        }
        say(f"  {name}: {self.figures[name]}")

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        loads = {}
        for name, runs in self.loads.items():
            of = Loads.of(runs)
            loads[name] = {
                "per_second": of.per_second.as_dict(),
                "p50_ms": of.p50_ms.as_dict(),
                "p99_ms": of.p99_ms.as_dict(),
            }
        ratios = {name: Spread.of(values).as_dict() for name, values in self.ratios.items()}
        return {
            "machine": machine(),
            "rounds": self.rounds,
            "seconds_per_run": self.seconds,
            "loads": loads,
            "ratios": ratios,
            **self.figures,
        }

    def table(self) -> str:
        """Medians (lowest..highest) of the rounds."""
        lines = [f"{'load':44}{'per second':>34}{'p50 ms':>26}{'p99 ms':>28}"]
        for name, runs in self.loads.items():
            of = Loads.of(runs)
            lines.append(f"{name:44}{of.per_second!s:>34}{of.p50_ms!s:>26}{of.p99_ms!s:>28}")
        lines += [""] + [f"{name:60}{Spread.of(v)!s:>30}" for name, v in self.ratios.items()]
        lines += [""] + [f"{name:44}{figures}" for name, figures in self.figures.items()]
        return "\n".join(lines)


def say(line: str) -> None:
    """Progress, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
    }


def measure_yardstick(report: Report) -> Load:
    """One round of (a); gives the run with 64 callers."""
    with yardstick.echo_server() as address:
        one = uvloop.run(yardstick.measure(address, 1, report.seconds))
        report.load("(a) unary echo, 1 in flight", one)
        many = uvloop.run(yardstick.measure(address, 64, report.seconds))
        return report.load("(a) unary echo, 64 in flight", many)


def measure_path(report: Report) -> None:
    """(b) and (c)."""
    with message_path.one_worker_cluster() as address:
        for _ in range(report.rounds):
            unit = measure_yardstick(report)
            for count in IN_FLIGHT:
                sdk = uvloop.run(message_path.through_sdk(address, count, report.seconds))
                report.load(f"(b) SDK A to B, {count} in flight", sdk, unit)
            for count in IN_FLIGHT:
                unary = uvloop.run(message_path.through_unary(address, count, report.seconds))
                report.load(f"(c) unary Send A to B, {count} in flight", unary, unit)
    ones = zip(
        report.loads["(b) SDK A to B, 1 in flight"],
        report.loads["(a) unary echo, 1 in flight"],
        strict=False,
    )
    report.ratios["(b) p50 of 1 in flight / yardstick's p50 of 1"] = [
        sdk.p50_ms / unit.p50_ms for sdk, unit in ones
    ]


def measure_group(report: Report) -> None:
    """(d)."""
    with group.durable_group() as leader:
        for _ in range(report.rounds):
            unit = measure_yardstick(report)
            for writers, batch in WRITERS:
                load = group.measure(leader, writers, batch, report.seconds)
                report.load(f"(d) durable group, {writers} writers x {batch}", load, unit)


def measure_moves(report: Report) -> None:
    """(e)."""
    quick = report.rounds == 1
    with moves.moving_cluster() as cluster:
        pauses, failed = uvloop.run(moves.graceful_pauses(cluster, 10 if quick else 200))
        report.pauses("(e) pause of a graceful move", pauses)
        report.figures["(e) failed requests in graceful moves"] = failed
        rounds = 1 if quick else 4
        report.pauses(
            "(e) kill -9 of an owner to serving",
            moves.measure_crashes(cluster, rounds, leader=False),
        )
        report.pauses(
            "(e) kill -9 of an owner that leads to serving",
            moves.measure_crashes(cluster, rounds, leader=True),
        )


def measure_placement(report: Report) -> None:
    """(f)."""
    runs = [idle.placement_ms() for _ in range(max(3, report.rounds))]
    for case in runs[0]:
        name = f"(f) placement of 10,000 over 100, {case}, ms"
        report.figures[name] = Spread.of([run[case] for run in runs]).as_dict()
        say(f"  {name}: {report.figures[name]}")


def measure_memory(report: Report) -> None:
    """(g)."""
    for partitions in (64, 16_384):
        name = f"(g) idle sidecar with {partitions} partitions, MB"
        runs = [idle.idle_memory_mb(partitions) for _ in range(report.rounds)]
        report.figures[name] = Spread.of(runs).as_dict()
        say(f"  {name}: {report.figures[name]}")


def measure_kv(report: Report) -> None:
    """(h): rounds of parti and etcd take turns."""
    for _ in range(report.rounds):
        peer = measure_etcd(report) if etcd.is_there() else {}
        with kv.store_cluster() as addresses:
            for at, address in (("leader", addresses.leader), ("follower", addresses.follower)):
                for kind, call in (("put", kv.put), ("get", kv.get)):
                    for count in IN_FLIGHT:
                        load = uvloop.run(kv.measure(address, call, count, report.seconds))
                        name = f"(h) {kind} through the {at}, {count} clients"
                        report.load(name, load)
                        if (kind, count) in peer:
                            ratio = load.per_second / peer[kind, count].per_second
                            report.ratios.setdefault(f"{name} / etcd", []).append(ratio)


def measure_etcd(report: Report) -> dict[tuple[str, int], Load]:
    """The same by etcd, whose clients ask its leader."""
    with etcd.etcd_cluster() as endpoints:
        return {
            (kind, count): report.load(
                f"(h) etcd {kind}, {count} clients",
                etcd.measure(endpoints, kind, count, report.seconds),
            )
            for kind in ("put", "get")
            for count in IN_FLIGHT
        }


MEASURES: dict[str, Callable[[Report], None]] = {
    "path": measure_path,
    "group": measure_group,
    "moves": measure_moves,
    "placement": measure_placement,
    "memory": measure_memory,
    "kv": measure_kv,
}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    arguments = parser.parse_args()
    quick: bool = arguments.quick
    report = Report(rounds=1 if quick else arguments.rounds, seconds=0.3 if quick else 5.0)
    for part in arguments.only.split(","):
        say(f"measuring {part}")
        MEASURES[part](report)
    out: Path = arguments.out
    out.mkdir(exist_ok=True)
    path = out / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    print(report.table())
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
