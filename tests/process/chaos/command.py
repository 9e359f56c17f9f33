"""The command line of `python -m tests.chaos`."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.process.chaos.report import Report
from tests.process.chaos.run import Settings, run


def main() -> None:
    """Run, or add up reports of earlier runs; exit code 1 if anything must not be."""
    options = _parser().parse_args()
    if options.verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
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
        "--add", type=Path, nargs="+", metavar="FILE", help="run nothing: add reports up"
    )
    return parser


def _run(options: argparse.Namespace) -> Report:
    settings = Settings(
        seed=options.seed,
        seconds=options.minutes * 60,
        members=options.members,
        per_s=options.rate,
    )
    if options.folder:
        return _run_in(settings, options.folder)
    with tempfile.TemporaryDirectory() as folder:
        return _run_in(settings, Path(folder))


def _run_in(settings: Settings, folder: Path) -> Report:
    folder.mkdir(parents=True, exist_ok=True)
    report: Report = uvloop.run(run(settings, folder))
    return report
