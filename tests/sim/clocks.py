"""The clocks of a machine: each runs at a rate of its own and starts where it likes."""

from __future__ import annotations

from tests.sim.timeline import MS

MILLION = 1_000_000
RATE_ERROR_PPM = 20_000  # G1 holds while clocks run within 2 % of real time


class Clock:
    """A lease clock (read in whole ms, rounded down) and a wall clock that is only for people."""

    def __init__(self, now_us: int, local_us: int, rate_ppm: int, wall_unix_ms: int) -> None:
        self._since_us = now_us
        self._local_us = local_us
        self.rate_ppm = rate_ppm
        self.wall_offset_ms = wall_unix_ms

    def read_ms(self, now_us: int) -> int:
        passed_us = now_us - self._since_us
        return (self._local_us + passed_us + passed_us * self.rate_ppm // MILLION) // MS

    def wall_unix_ms(self, now_us: int) -> int:
        return self.wall_offset_ms + now_us // MS

    def set_rate(self, now_us: int, rate_ppm: int) -> None:
        """Drift from here on; the reading does not jump."""
        passed_us = now_us - self._since_us
        self._local_us += passed_us + passed_us * self.rate_ppm // MILLION
        self._since_us = now_us
        self.rate_ppm = rate_ppm

    def reboot(self, now_us: int, local_us: int) -> None:
        """The machine was off: the clock counts from its start."""
        self._local_us = local_us
        self._since_us = now_us
