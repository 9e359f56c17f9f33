"""Small statistics of measured runs: quantiles of one run, medians with spread of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median


def quantile(ordered: Sequence[float], fraction: float) -> float:
    """The value below which `fraction` of an ordered sample lies (nearest rank)."""
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Load:
    """One closed-loop run: how many ended per second and how long one took."""

    per_second: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: float, latencies_s: list[float], per_item: int = 1) -> Load:
        """From the latencies of all requests of a run of `seconds`."""
        ordered = sorted(latencies_s)
        return cls(
            len(ordered) * per_item / seconds,
            quantile(ordered, 0.5) * 1000,
            quantile(ordered, 0.99) * 1000,
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """Several runs of the same thing."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Median and extremes."""
        return cls(median(values), min(values), max(values))

    def as_dict(self) -> dict[str, float]:
        """For the JSON report."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.median:,.2f} ({self.low:,.2f}..{self.high:,.2f})"


@dataclass(frozen=True, slots=True)
class Loads:
    """Several runs of the same closed loop."""

    per_second: Spread
    p50_ms: Spread
    p99_ms: Spread

    @classmethod
    def of(cls, runs: Sequence[Load]) -> Loads:
        """Median and spread of each figure."""
        return cls(
            Spread.of([run.per_second for run in runs]),
            Spread.of([run.p50_ms for run in runs]),
            Spread.of([run.p99_ms for run in runs]),
        )
