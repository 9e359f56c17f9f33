"""`python -m tests.mutants [NAME...] [--jobs N] [--fast] [--list]`: judge the tests by sabotage.

Ends with 0 if every mutant was killed, with 1 if one survived, with 2 if the gate could not judge.
"""

# ruff: noqa: T201 - a program that prints
from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.gate import Fate, GateError, Verdict, judge_all, told
from tests.mutants.mutant import Mutant
from tests.mutants.table import FAST, MUTANTS

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gate over the table of this tree."""
    options = _parser().parse_args(arguments)
    mutants: Sequence[Mutant] = FAST if options.fast else MUTANTS
    if options.names:
        known = {mutant.name: mutant for mutant in MUTANTS}
        unknown = [name for name in options.names if name not in known]
        if unknown:
            print(f"no mutant is called {', '.join(unknown)}; --list shows them all")
            return 2
        mutants = [known[name] for name in options.names]
    if options.list:
        for mutant in mutants:
            print(f"{mutant.name}: {mutant.breaks}{_numbers(mutant)}")
        return 0
    return run(mutants, ROOT, options.jobs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--jobs", type=int, default=1, metavar="N")
    parser.add_argument("--fast", action="store_true", help="the few of `make test`")
    parser.add_argument("--list", action="store_true", help="name them, run nothing")
    return parser


def _numbers(mutant: Mutant) -> str:
    return f" (bug {', '.join(map(str, mutant.bugs))})" if mutant.bugs else ""


def run(mutants: Sequence[Mutant], root: Path, jobs: int) -> int:
    """Judge and tell; gives the exit code."""
    begun = time.perf_counter()
    try:
        verdicts = judge_all(mutants, root, jobs=jobs, tell=lambda line: print(line, flush=True))
    except GateError as error:
        print(f"the gate cannot judge: {error}")
        return 2
    _print_summary(verdicts, time.perf_counter() - begun)
    fates = {verdict.fate for verdict in verdicts}
    if Fate.BROKEN in fates:
        return 2
    return 1 if Fate.SURVIVED in fates else 0


def _print_summary(verdicts: Sequence[Verdict], seconds: float) -> None:
    by_file = Counter(
        verdict.by.partition("::")[0] for verdict in verdicts if verdict.fate is Fate.KILLED
    )
    print(f"\n{'killed':>6}  by tests of")
    for file, count in by_file.most_common():
        print(f"{count:6}  {file}")
    for verdict in verdicts:
        if verdict.fate is not Fate.KILLED:
            print(f"{told(verdict)}\n          {verdict.mutant.breaks}")
    fates = Counter(verdict.fate for verdict in verdicts)
    print(
        f"{len(verdicts)} mutants in {seconds:.0f} s: {fates[Fate.KILLED]} killed,"
        f" {fates[Fate.SURVIVED]} survived, {fates[Fate.BROKEN]} broken"
    )


def _end(signal_number: int, _frame: object) -> None:
    """Whoever ends this program leaves no copies behind either."""
    raise SystemExit(128 + signal_number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
