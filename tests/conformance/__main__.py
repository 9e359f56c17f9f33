"""`python -m tests.conformance PATH...`: run scripts; exit code 0 if every step passed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# The command also works in a checkout whose packages are not installed.
sys.path.append(str(Path(__file__).resolve().parents[2] / "sidecar"))

from tests.conformance.runner import run_file, script_files


def main() -> int:
    """Run the scripts named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="file or folder")
    paths: list[Path] = parser.parse_args().paths
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        parser.error(f"no such file or folder: {', '.join(missing)}")
    passed = failed = 0
    for path in script_files(paths):
        result = run_file(path)
        passed += result.passed
        failed += result.failed
        if result.report:
            sys.stdout.write(result.report)
    sys.stdout.write(f"{passed} passed, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
