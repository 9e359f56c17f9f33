"""`python -m tests.sim --seeds A..B [--jobs N]` and `--replay SEED [--verbose]`."""

# ruff: noqa: T201 - a program that prints
from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from multiprocessing import Pool
from pathlib import Path

from tests.sim.reached import Cells, matrices
from tests.sim.run import Result, run_seed

CORPUS = Path(__file__).with_name("corpus.txt")


def corpus_seeds() -> list[int]:
    """Seeds that once showed a bug."""
    if not CORPUS.exists():
        return []
    lines = (line.partition("#")[0].split() for line in CORPUS.read_text().splitlines())
    return [int(words[0]) for words in lines if words]


def parse_range(text: str) -> range:
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def tell_failure(result: Result) -> None:
    print(f"\nseed {result.seed} FAILS: {result.error}")
    print("\n".join(result.story))
    print(f"replay: python -m tests.sim --replay {result.seed} --verbose\n", flush=True)


def _results(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    if jobs <= 1:
        yield from map(run_seed, seeds)
        return
    with Pool(jobs) as pool:
        yield from pool.imap_unordered(run_seed, seeds)


def run_many(seeds: list[int], jobs: int) -> int:
    """Say how many failed."""
    begun = time.perf_counter()
    counts: Counter[str] = Counter()
    cells: Cells = Counter()
    failed: list[tuple[int, str]] = []
    virtual_us = events = 0
    for result in _results(seeds, jobs):
        counts.update(result.counts)
        cells.update(result.cells)
        virtual_us += result.virtual_us
        events += result.events
        if result.error:
            failed.append((result.seed, result.error))
            tell_failure(result)
    seconds = time.perf_counter() - begun
    for name, count in sorted(counts.items()):
        if count:
            print(f"{count:10} {name}")
    print(matrices(cells), end="\n\n")
    print(
        f"{len(seeds)} seeds, {virtual_us / 1e6:.0f} s of virtual time, {events} events"
        f" in {seconds:.1f} s: {60 * len(seeds) / seconds:.0f} seeds/min, {len(failed)} failed"
    )
    for seed, error in failed:
        print(f"  {seed}: {error.splitlines()[0][:150]}")
    return len(failed)


def replay(seed: int, *, verbose: bool) -> int:
    result = run_seed(seed)
    if result.error:
        tell_failure(result)
    elif verbose:
        print("\n".join(result.story))
    print(
        f"seed {seed}: {result.error.splitlines()[0] if result.error else 'no violation'};"
        f" {result.virtual_us / 1e6:.1f} s of virtual time, {result.events} events,"
        f" healed in {result.healed_us / 1e6:.1f} s, {result.seconds:.2f} s"
    )
    return bool(result.error)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=parse_range, help="A..B: run these, after the corpus")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--replay", type=int, metavar="SEED")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if options.replay is not None:
        return replay(options.replay, verbose=options.verbose)
    seeds = [*corpus_seeds(), *(options.seeds or range(0))]
    return min(run_many(seeds, options.jobs), 1)


if __name__ == "__main__":
    sys.exit(main())
