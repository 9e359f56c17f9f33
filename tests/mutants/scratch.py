"""A scratch copy of the tree, in which lines are changed and tests run; the tree stays as it is.

The package is installed in editable form, so that a test would find the tree by itself: the
copy's folders stand first on the path, and `witness` proves for every run that nothing came from
elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final, Self

from tests.mutants import witness
from tests.mutants.mutant import Mutant

_COPIED: Final = ("sidecar", "proto", "operator", "tests")
_ON_PATH: Final = ("operator", "sidecar", "proto", ".")
_PLUGIN: Final = "mutant_witness"
TEST_SECONDS_MAX: Final = 60
RUN_SECONDS_MAX: Final = 120


@dataclass(frozen=True, slots=True)
class Failure:
    """One test that failed."""

    test: str
    phase: str
    kinds: frozenset[str]
    says: str


@dataclass(frozen=True, slots=True)
class Run:
    """What pytest did in a scratch copy. `broken`: why that says nothing, if it does not."""

    passed: tuple[str, ...]
    failed: tuple[Failure, ...]
    broken: str
    seconds: float


class Scratch:
    """One copy."""

    def __init__(self, folder: Path) -> None:
        """`folder` belongs to this copy alone; `copied` and `twin` fill it."""
        self.root = folder / "tree"
        self._report = folder / "report.json"

    @classmethod
    def copied(cls, root: Path, folder: Path) -> Self:
        """Copy a tree, without what is compiled there: others may be writing that just now."""
        copy = cls(folder)
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        for name in _COPIED:
            if (root / name).is_dir():
                shutil.copytree(root / name, copy.root / name, ignore=ignored)
        shutil.copy(root / "pyproject.toml", copy.root)
        shutil.copy(witness.__file__, copy.root / f"{_PLUGIN}.py")
        return copy

    def twin(self, folder: Path) -> Self:
        """Another copy, with all that this one has compiled."""
        other = type(self)(folder)
        shutil.copytree(self.root, other.root)
        return other

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """Change the line, and change it back. Raises StaleMutantError."""
        path = self.root / mutant.path
        source = path.read_text()
        changed = mutant.applied(source)
        compiled = Path(cache_from_source(str(path)))
        try:
            compiled.unlink(missing_ok=True)  # it is told apart by size and whole seconds only
            path.write_text(changed)
            yield
        finally:
            path.write_text(source)
            compiled.unlink(missing_ok=True)

    def pytest(self, tests: Sequence[str], *, stop_at_first: bool) -> Run:
        """Run these tests."""
        self._report.unlink(missing_ok=True)
        begun = time.perf_counter()
        try:
            done = subprocess.run(
                self._command(tests, stop_at_first=stop_at_first),
                cwd=self.root,
                env=self._environment(),
                capture_output=True,
                text=True,
                timeout=RUN_SECONDS_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Run((), (), f"no end within {RUN_SECONDS_MAX} s", time.perf_counter() - begun)
        return self._told(done, time.perf_counter() - begun)

    def _command(self, tests: Sequence[str], *, stop_at_first: bool) -> list[str]:
        plugins = ("-p", _PLUGIN, "-p", "no:cacheprovider", "-p", "no:xdist")
        options = ("-q", "--tb=no", "--hypothesis-seed=0", f"--timeout={TEST_SECONDS_MAX}")
        first = ("-x",) if stop_at_first else ()
        return [sys.executable, "-m", "pytest", *plugins, *options, *first, *tests]

    def _environment(self) -> dict[str, str]:
        """This process's, without what another pytest may have put into it."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
        return {
            **own,
            "PYTHONPATH": os.pathsep.join(str(self.root / name) for name in _ON_PATH),
            witness.ROOT_VARIABLE: str(self.root),
            witness.REPORT_VARIABLE: str(self._report),
        }

    def _told(self, done: subprocess.CompletedProcess[str], seconds: float) -> Run:
        if not self._report.exists():
            tail = (done.stdout + done.stderr)[-500:]
            return Run((), (), f"pytest ended with {done.returncode}: {tail}", seconds)
        told = json.loads(self._report.read_text())
        failed = tuple(
            Failure(each["test"], each["phase"], frozenset(each["kinds"]), each["says"])
            for each in told["failed"]
        )
        broken = "; ".join(told["broken"])
        if not broken and not failed and done.returncode != 0:
            broken = f"pytest ended with {done.returncode}: {done.stdout[-500:]}"
        return Run(tuple(told["passed"]), failed, broken, seconds)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for copies; nothing is left of them."""
    with tempfile.TemporaryDirectory(prefix="parti-mutants-") as folder:
        yield Path(folder).resolve()
