"""The command line of `python -m tests.chaos`."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.process.chaos.exactly_once import Figures, exactly_once
from tests.process.chaos.report import Report
from tests.process.chaos.rolling import rolling_restart
from tests.process.chaos.run import Settings, run
from tests.process.history import Outcome


def main() -> None:
    """Run, or add up reports of earlier runs; exit code 1 if anything must not be."""
    options = _parser().parse_args()
    if options.verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.exactly_once:
        _run_exactly_once(options.exactly_once)
        return
    if options.add:
        report = Report()
        for path in options.add:
            report.add(Report.from_json(path.read_text(encoding="utf-8")))
    else:
        report = _run(options)
    if options.report:
        options.report.write_text(report.as_json(), encoding="utf-8")
    sys.stdout.write(f"{report}\n")
    sys.exit(1 if report.bad else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description="Real sidecars under real faults; docs/chaos.md."
    )
    defaults = Settings(seed=1, seconds=120.0)
    parser.add_argument("--minutes", type=float, default=defaults.seconds / 60, metavar="M")
    parser.add_argument("--seed", type=int, default=defaults.seed, metavar="S")
    parser.add_argument("--members", type=int, default=defaults.members, metavar="N")
    parser.add_argument(
        "--rate", type=float, default=defaults.per_s, metavar="N", help="messages per second"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write it as JSON, too")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep logs and notes here")
    parser.add_argument("--verbose", action="store_true", help="tell every trouble")
    parser.add_argument(
        "--rolling", action="store_true", help="instead: a rolling restart under load"
    )
    parser.add_argument(
        "--exactly-once",
        type=int,
        metavar="N",
        help="instead: so many writes to the store whose answers are lost",
    )
    parser.add_argument(
        "--add", type=Path, nargs="+", metavar="FILE", help="run nothing: add reports up"
    )
    return parser


def _run(options: argparse.Namespace) -> Report:
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        return _run_in(options, options.folder)
    with tempfile.TemporaryDirectory() as folder:
        return _run_in(options, Path(folder))


def _run_in(options: argparse.Namespace, folder: Path) -> Report:
    report: Report
    if options.rolling:
        report = uvloop.run(
            rolling_restart(folder, options.members, per_s=options.rate, seed=options.seed)
        )
        report.faults["request failed"] += (
            report.messages.total() - report.messages[Outcome.ACKNOWLEDGED]
        )
    else:
        report = uvloop.run(run(_settings(options), folder))
    return report


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        seed=options.seed,
        seconds=options.minutes * 60,
        members=options.members,
        per_s=options.rate,
    )


def _run_exactly_once(writes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        figures: Figures = uvloop.run(exactly_once(Path(folder), writes))
    sys.stdout.write(f"each applied exactly once: {figures}\n")
