"""What is remembered of a local cluster in its directory: one JSON file, guarded by a lock.

    DIR/cluster.json             the members with their processes and addresses
    DIR/lock                     held by whoever changes the cluster, for the time of the change
    DIR/members/NAME/data        the data directory of the sidecar
    DIR/members/NAME/*.log       what the sidecar and the worker wrote

The file is replaced as a whole, so a reader never sees half of it and needs no lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from parti_cli.errors import DevClusterError
from parti_cli.processes import Process

__all__ = ["Addresses", "ClusterFiles", "ClusterState", "MemberState"]

_FORMAT = 1
_LOCK_POLL_S = 0.02
_LOCK_WAIT_S = 15.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the four servers of a sidecar listen, as `host:port`."""

    app: str
    peer: str
    admin: str
    http: str


@dataclass(slots=True)
class MemberState:
    """One member of the local cluster."""

    name: str
    arguments: list[str]  # flags of its sidecar beyond those every member has
    addresses: Addresses
    sidecar: Process | None = None
    worker: Process | None = None


@dataclass(slots=True)
class ClusterState:
    """The whole local cluster."""

    partitions: int
    arguments: list[str]  # flags that every sidecar of this cluster gets
    worker_command: list[str]  # empty: no application is started beside the sidecars
    base_port: int  # 0: free ports are chosen
    members_ever: int = 0  # numbers names and ports; never goes back
    members: dict[str, MemberState] = field(default_factory=dict)


class ClusterFiles:
    """Reads and writes the directory of a local cluster."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / "cluster.json"

    def exists(self) -> bool:
        """Whether a cluster is remembered here."""
        return self._path.exists()

    def member_directory(self, name: str) -> Path:
        """Everything of one member."""
        return self.directory / "members" / name

    def data_directory(self, name: str) -> Path:
        """The sidecar's disk."""
        return self.member_directory(name) / "data"

    def log(self, name: str, part: str) -> Path:
        """What the `sidecar` or the `worker` of a member wrote."""
        return self.member_directory(name) / f"{part}.log"

    def load(self) -> ClusterState:
        """What is remembered; an error that says what to do if nothing is."""
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DevClusterError(
                f"there is no local cluster in {self.directory}",
                hint="Start one with `parti dev up`, or name its directory with --dir.",
            ) from None
        except (OSError, ValueError) as error:
            raise self._unreadable(str(error)) from error
        return self._parse(document)

    def save(self, state: ClusterState) -> None:
        """Replace what is remembered."""
        document = {"format": _FORMAT, **asdict(state)}
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        temporary.replace(self._path)

    def forget(self) -> None:
        """Nothing runs any more; logs and data stay until the next cluster starts here."""
        self._path.unlink()

    def wipe(self) -> None:
        """Delete what an earlier cluster left here."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.directory / "members")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other program, and thread, from changing the cluster meanwhile."""
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._take(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise DevClusterError(
                        f"another program is changing the cluster in {self.directory}",
                        hint="Wait until it has ended, or use another --dir.",
                    ) from None
                time.sleep(_LOCK_POLL_S)
            else:
                return

    def _parse(self, document: dict[str, object]) -> ClusterState:
        try:
            values = dict(document)
            if values.pop("format") != _FORMAT:
                raise self._unreadable("written by another version of parti")
            members = {item["name"]: _member(item) for item in values.pop("members").values()}  # type: ignore[attr-defined]  # JSON, checked by use
            return ClusterState(**values, members=members)  # type: ignore[arg-type]  # the same
        except (AttributeError, KeyError, TypeError) as error:
            raise self._unreadable(f"{type(error).__name__}: {error}") from error

    def _unreadable(self, reason: str) -> DevClusterError:
        return DevClusterError(
            f"{self._path} cannot be used: {reason}",
            hint=f"End its processes by hand if any are left, then delete {self.directory}.",
        )


def _member(item: dict[str, object]) -> MemberState:
    values = dict(item)
    addresses = Addresses(**values.pop("addresses"))  # type: ignore[arg-type]  # JSON
    processes = {part: _process(values.pop(part)) for part in ("sidecar", "worker")}
    return MemberState(**values, **processes, addresses=addresses)  # type: ignore[arg-type]  # JSON


def _process(item: object) -> Process | None:
    return None if item is None else Process(**item)  # type: ignore[arg-type]  # JSON
