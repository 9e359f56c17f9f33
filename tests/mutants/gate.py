"""The gate: every sabotage must be noticed, or the tests have a hole.

First the tests run on an unchanged copy, and must pass: a test that fails anyway kills nothing.
Then each mutant is alone in a copy with the tests named for it. It is *killed* when a test fails
by an assertion or by a check of the machine itself; it *survives* when all pass. Anything else (the
line is gone, a file cannot be imported, a name does not exist, no end in time) is *broken*: the
sabotage itself is at fault, and nobody learns anything about the tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from tests.mutants.mutant import Mutant, StaleMutantError
from tests.mutants.scratch import Failure, Scratch, scratch_folder

# What a test says when it found something; beside it what the machines raise by themselves.
_FOUND: Final = frozenset({"builtins.AssertionError", "builtins.Failed"})
_MACHINES: Final = ("parti_raft.", "parti_shard.", "parti_kv.", "parti_sidecar.")
_TIMEOUT: Final = "Timeout ("


class GateError(Exception):
    """The gate cannot judge: the unchanged tree does not pass its tests."""


class Fate(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    BROKEN = "BROKEN"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`by` is the test that killed it, or says what is wrong."""

    mutant: Mutant
    fate: Fate
    by: str
    seconds: float


def judge_all(
    mutants: Sequence[Mutant], root: Path, *, jobs: int, tell: Callable[[str], None]
) -> list[Verdict]:
    """Judge the mutants in the tree at `root`. Raises GateError."""
    jobs = max(1, min(jobs, len(mutants)))
    with scratch_folder() as folder:
        first = Scratch.copied(root, folder / "0")
        _check_unchanged(mutants, first, tell)
        copies = [first, *(first.twin(folder / str(number)) for number in range(1, jobs))]
        verdicts: list[Verdict] = []

        def settled(verdict: Verdict) -> None:
            verdicts.append(verdict)
            tell(f"{len(verdicts)}/{len(mutants)} {told(verdict)}")

        _judge_each(mutants, copies, settled)
    order = {mutant.name: at for at, mutant in enumerate(mutants)}
    return sorted(verdicts, key=lambda verdict: order[verdict.mutant.name])


def _judge_each(
    mutants: Sequence[Mutant], copies: Sequence[Scratch], settled: Callable[[Verdict], None]
) -> None:
    """Judge as many at once as there are copies; who is told may end it by raising."""
    free: SimpleQueue[Scratch] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def judge_in_a_free_copy(mutant: Mutant) -> Verdict:
        copy = free.get()
        try:
            return judge(mutant, copy)
        finally:
            free.put(copy)

    pool = ThreadPoolExecutor(len(copies))
    try:
        futures = [pool.submit(judge_in_a_free_copy, mutant) for mutant in mutants]
        for future in as_completed(futures):
            settled(future.result())
    finally:
        pool.shutdown(cancel_futures=True)


def _check_unchanged(mutants: Sequence[Mutant], copy: Scratch, tell: Callable[[str], None]) -> None:
    tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.killers))
    run = copy.pytest(tests, stop_at_first=False)
    if run.broken:
        raise GateError(run.broken)
    if run.failed:
        names = ", ".join(sorted({failure.test for failure in run.failed}))
        raise GateError(f"without any sabotage fail: {names}")
    idle = [test for test in tests if not any(_is_of(passed, test) for passed in run.passed)]
    if idle:
        raise GateError(f"did not run: {', '.join(idle)}")
    tell(f"the unchanged tree passes {len(run.passed)} tests in {run.seconds:.1f} s")


def _is_of(passed: str, test: str) -> bool:
    return passed == test or passed.startswith((f"{test}[", f"{test}::"))


def judge(mutant: Mutant, copy: Scratch) -> Verdict:
    """Judge one mutant in a copy."""
    begun = time.perf_counter()

    def verdict(fate: Fate, by: str) -> Verdict:
        return Verdict(mutant, fate, by, time.perf_counter() - begun)

    try:
        with copy.mutated(mutant):
            run = copy.pytest(mutant.killers, stop_at_first=True)
    except StaleMutantError as error:
        return verdict(Fate.BROKEN, str(error))
    if run.broken:
        return verdict(Fate.BROKEN, run.broken)
    if not run.failed:
        return verdict(Fate.SURVIVED, f"{len(run.passed)} tests pass")
    failure = run.failed[0]
    if not is_a_finding(failure):
        return verdict(Fate.BROKEN, f"{failure.test}, {failure.phase}: {failure.says}")
    return verdict(Fate.KILLED, failure.test)


def is_a_finding(failure: Failure) -> bool:
    """Whether a failed test noticed what is wrong, and did not merely come to grief over it."""
    if failure.phase != "call" or failure.says.startswith(_TIMEOUT):
        return False
    return bool(failure.kinds & _FOUND) or any(kind.startswith(_MACHINES) for kind in failure.kinds)


def told(verdict: Verdict) -> str:
    """One line."""
    return f"{verdict.fate.value:8} {verdict.seconds:5.1f} s  {verdict.mutant.name}: {verdict.by}"
