"""One replica acts: whoever holds the Lease. Nothing here trusts a wall clock.

- A candidate takes the Lease over when it has seen no change of it for `lease_ms` of its *own*
  clock. What time the Lease names is for people.
- The holder renews every `retry_ms` and stops acting `renew_ms` after the *start* of its last
  successful renewal, again by its own clock. `renew_ms` < `lease_ms`: it has stopped before anybody
  may begin, as long as clock rates agree within a third. The clock counts through suspend.
- Every write names the version that was read, so of two candidates one wins.
- A holder that loses the Lease ends its process: no state of a leader survives in memory.
- A holder that leaves gives the Lease up, so that the next one need not wait.

This keeps two operators from working against each other. What must never happen twice is guarded
where it happens as well: uids, resource versions and the cluster's own log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from parti_operator.kube_api import LEASE, KubeApi, KubeError, Object
from parti_sidecar.logs import event

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ElectionTimes:
    """See the module."""

    lease_ms: int = 15_000
    renew_ms: int = 10_000
    retry_ms: int = 2_000

    def __post_init__(self) -> None:
        assert self.retry_ms * 2 < self.renew_ms < self.lease_ms, self

    @property
    def attempt_ms(self) -> int:
        """A holder has at least two attempts before it must stop."""
        return self.renew_ms // 2 - self.retry_ms


class LeaseLostError(Exception):
    """This process must not act any more."""


class Election:
    """One candidate. `clock_ms` counts through suspend; `wall_ms` only labels.

    It asks the API server every `retry_ms`, so it knows first that one was away: `api_returned`.
    """

    def __init__(
        self,
        kube: KubeApi,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock_ms: Callable[[], int],
        wall_ms: Callable[[], int],
        api_returned: Callable[[], None],
        times: ElectionTimes | None = None,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock_ms = clock_ms
        self._wall_ms = wall_ms
        self._api_returned = api_returned
        self._api_away = False
        self._times = times or ElectionTimes()
        self._seen_version = ""
        self._seen_at_ms = 0
        self._holder = ""
        self._held: Object | None = None
        self._renewed_at_ms = 0
        self._writes = 0

    @property
    def may_act(self) -> bool:
        """Asked before everything that changes anything."""
        return self.remaining_ms > 0

    @property
    def remaining_ms(self) -> int:
        """For how long this process may act without another renewal."""
        if self._held is None:
            return 0
        return max(0, self._renewed_at_ms + self._times.renew_ms - self._clock_ms())

    async def win(self) -> None:
        """Wait, however long, until this process holds the Lease."""
        while True:
            if await self._try():
                break
            await asyncio.sleep(self._times.retry_ms / 1000)
        event(_log, "elected", lease=self._name, identity=self._identity)

    async def keep(self) -> None:
        """Renew for ever. Raises `LeaseLostError` when this process must end."""
        while True:
            await asyncio.sleep(self._times.retry_ms / 1000)
            renewed = await self._try()
            if not self.may_act:
                self._held = None
                raise LeaseLostError("the lease could not be renewed in time")
            if not renewed and self._holder not in ("", self._identity):
                self._held = None
                raise LeaseLostError("another replica has taken the lease over")

    async def resign(self) -> None:
        """Stop acting, and let the next one begin at once if the API can be told."""
        held, self._held = self._held, None
        if held is None:
            return
        try:
            async with asyncio.timeout(self._times.attempt_ms / 1000):
                await self._kube.replace(self._record(held, holder="", duration_ms=1_000))
        except (KubeError, TimeoutError) as error:
            event(_log, "lease not given up", reason=str(error))

    async def _try(self) -> bool:
        """One attempt to take or to renew; whether it succeeded."""
        began_ms = self._clock_ms()
        try:
            async with asyncio.timeout(self._times.attempt_ms / 1000):
                written = await self._write()
        except (KubeError, TimeoutError) as error:
            event(_log, "lease not written", level=logging.WARNING, reason=str(error))
            self._api_away |= not isinstance(error, KubeError) or error.is_no_answer
            return False
        if self._api_away:
            self._api_away = False
            self._api_returned()
        if written is None:
            return False
        self._see(written)
        self._held = written
        self._renewed_at_ms = began_ms
        return True

    async def _write(self) -> Object | None:
        """The Lease as written; None if somebody else holds it."""
        if self._held is not None:
            try:
                return await self._kube.replace(self._renewal(self._held))
            except KubeError as error:
                if not error.is_conflict and not error.is_missing:
                    raise
        try:
            found = await self._kube.get(LEASE, self._namespace, self._name)
        except KubeError as error:
            if not error.is_missing:
                raise
            return await self._kube.create(self._first())
        self._see(found)
        if _holder(found) == self._identity:
            return await self._kube.replace(self._renewal(found))
        if not self._is_free(found):
            return None
        return await self._kube.replace(self._takeover(found))

    def _see(self, lease: Object) -> None:
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen_version:
            self._seen_version = version
            self._seen_at_ms = self._clock_ms()
        self._holder = _holder(lease)

    def _is_free(self, lease: Object) -> bool:
        if not _holder(lease):
            return True
        return self._clock_ms() - self._seen_at_ms >= self._times.lease_ms

    def _first(self) -> Object:
        now = self._now()
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": self._times.lease_ms // 1000,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }

    def _renewal(self, lease: Object) -> Object:
        return self._record(lease, holder=self._identity, duration_ms=self._times.lease_ms)

    def _takeover(self, lease: Object) -> Object:
        transitions = (lease.get("spec") or {}).get("leaseTransitions") or 0
        record = self._renewal(lease)
        record["spec"] |= {"acquireTime": self._now(), "leaseTransitions": transitions + 1}
        return record

    def _record(self, lease: Object, *, holder: str, duration_ms: int) -> Object:
        spec: dict[str, Any] = {
            **(lease.get("spec") or {}),
            "holderIdentity": holder,
            "leaseDurationSeconds": duration_ms // 1000,
            "renewTime": self._now(),
        }
        return {**lease, "spec": spec}

    def _now(self) -> str:
        """The wall clock's milliseconds; the digits below make every write differ from the last,
        for the API server drops a write that changes nothing, and the version would stand still.
        """
        self._writes = (self._writes + 1) % 1_000
        moment = datetime.fromtimestamp(self._wall_ms() // 1000, UTC)
        moment += timedelta(milliseconds=self._wall_ms() % 1000, microseconds=self._writes)
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _holder(lease: Object) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")
