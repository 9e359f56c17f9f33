"""`python -m tests.lincheck PATH...`: judge histories; exit code 0 if no verdict is wrong."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.lincheck.files import history_files, judge_file
from tests.lincheck.history import HistoryError


def main() -> int:
    """Judge the histories named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.lincheck", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="file or folder")
    paths: list[Path] = parser.parse_args().paths
    files = history_files(paths)
    if not files:
        parser.error("no histories there")
    try:
        return _judge(files)
    except HistoryError as error:
        parser.error(str(error))


def _judge(files: list[Path]) -> int:
    """Print a line per file and the totals."""
    passed = failed = 0
    for path in files:
        result = judge_file(path)
        passed += result.passed
        failed += result.failed
        sys.stdout.write(f"{result.line()}\n")
        sys.stdout.flush()
        if result.failed:
            sys.stderr.write(f"{path}: {result.story}\n")
    without = len(files) - passed - failed
    judged = f", {without} judged without a given verdict" if without else ""
    sys.stdout.write(f"{passed} passed, {failed} failed{judged}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
