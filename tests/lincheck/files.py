"""Files of histories and the verdicts given beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lincheck.formats import parse
from tests.lincheck.history import HistoryError
from tests.lincheck.judge import Verdict, judge

VERDICTS_NAME = "verdicts.txt"
_SUFFIXES = frozenset({".log", ".txt"})
_GIVEN = {verdict.value: verdict for verdict in (Verdict.LINEARIZABLE, Verdict.NOT_LINEARIZABLE)}


@dataclass(frozen=True, slots=True)
class FileResult:
    """What was found about a file; without a verdict it could not be read."""

    path: Path
    verdict: Verdict | None
    expected: Verdict | None
    story: str

    @property
    def failed(self) -> bool:
        """The verdict is not the given one, or there is no definite verdict."""
        if self.verdict is None or self.verdict is Verdict.UNDECIDED:
            return True
        return self.expected is not None and self.verdict is not self.expected

    @property
    def passed(self) -> bool:
        """The verdict is the given one."""
        return self.expected is not None and not self.failed

    def line(self) -> str:
        """The file and its verdict, in the form of the verdicts given."""
        verdict = "unreadable" if self.verdict is None else self.verdict.value
        if self.expected is None or not self.failed:
            return f"{self.path} {verdict}"
        return f"{self.path} {verdict} (expected {self.expected.value})"


def history_files(paths: Iterable[Path]) -> list[Path]:
    """Histories among the files named and in the folders named, each once."""
    found: dict[Path, None] = {}
    for path in paths:
        inside = (file for file in sorted(path.rglob("*")) if file.suffix in _SUFFIXES)
        for file in inside if path.is_dir() else [path]:
            if file.name != VERDICTS_NAME and not file.is_dir():
                found[file] = None
    return list(found)


def judge_file(path: Path) -> FileResult:
    """Read and judge one file."""
    expected = given_verdict(path)
    try:
        judgement = judge(parse(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeError, HistoryError) as error:
        return FileResult(path, None, expected, str(error))
    return FileResult(path, judgement.verdict, expected, judgement.story())


def given_verdict(path: Path) -> Verdict | None:
    """The verdict in the file's own folder or the nearest one above that has verdicts."""
    path = path.absolute()
    for folder in path.parents:
        listing = folder / VERDICTS_NAME
        if listing.is_file():
            name = path.relative_to(folder).as_posix()
            return dict(read_verdicts(listing.read_text(encoding="utf-8"))).get(name)
    return None


def read_verdicts(text: str) -> Iterator[tuple[str, Verdict]]:
    """Names, relative to the folder of the listing, and their verdicts."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, _, verdict = line.strip().rpartition(" ")
        if not name or verdict not in _GIVEN:
            raise HistoryError(f"{VERDICTS_NAME} line {number}: not a name and a verdict: {line!r}")
        yield name.strip(), _GIVEN[verdict]
