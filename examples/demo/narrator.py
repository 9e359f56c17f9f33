"""How the demo speaks: coloured on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.console import Console

from examples.demo.moves import Move

_BAR_PARTITIONS_MAX = 40


class Narrator:
    """Prints what happens, with the seconds since the start."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, soft_wrap=True, emoji=False)
        self._begun = time.monotonic()

    def step(self, title: str) -> None:
        """A new chapter."""
        self._console.print()
        self._console.print(f"== {title}", style="bold cyan")

    def say(self, text: str) -> None:
        """One sentence."""
        self._console.print(f"[{time.monotonic() - self._begun:5.1f} s] {text}")

    def show(self, text: str) -> None:
        """A line that belongs to the one above."""
        self._console.print(f"          {text}", style="dim")

    def owners(self, counts: Mapping[str, int]) -> None:
        """Who owns how much."""
        total = sum(counts.values())
        for member, count in sorted(counts.items()):
            bar = "#" * max(1, count * _BAR_PARTITIONS_MAX // total)
            self.show(f"{member:<4} {count:>4} partitions {bar}")

    def moves(self, moves: Sequence[Move]) -> None:
        """How many partitions went from whom to whom, and how long each paused."""
        routes: dict[tuple[str, str], list[Move]] = {}
        for move in moves:
            routes.setdefault((move.source or "nobody", move.target), []).append(move)
        for (source, target), route in sorted(routes.items()):
            which = " ".join(_move_text(move) for move in route)
            self.show(f"{source} -> {target}: {which}")
        pauses = sorted(move.pause_ms for move in moves if move.pause_ms is not None)
        if pauses:
            self.say(
                f"{len(moves)} partitions moved; a partition paused {pauses[len(pauses) // 2]:.0f} "
                f"ms (median), at most {pauses[-1]:.0f} ms"
            )

    def verdict(self, text: str, *, good: bool) -> None:
        """A final judgement."""
        mark, style = ("yes", "bold green") if good else ("NO", "bold red")
        self._console.print(f"  {mark:<4} {text}", style=style)


def _move_text(move: Move) -> str:
    return (
        f"{move.partition}" if move.pause_ms is None else f"{move.partition}({move.pause_ms:.0f}ms)"
    )
