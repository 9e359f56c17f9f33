"""Events: each thing once in a while, never too many, never in the way."""

from __future__ import annotations

from parti_operator.events import EVENTS_MAX, REPEAT_MS, Recorder
from parti_operator.kube_api import EVENT, Object
from parti_operator.names import EventReason
from parti_operator.plan.values import Occurrence
from tests.parti_operator.defaults import particluster
from tests.parti_operator.memory_kube import MemoryKube
from tests.parti_operator.virtual_time import run_virtual

_SCALED = Occurrence(EventReason.SCALED, "5 members")


class _Desk:
    """A recorder with a clock that the test moves."""

    def __init__(self) -> None:
        self.kube = MemoryKube()
        self.clock_ms = 1_000_000
        self.dropped: list[str] = []
        self.recorder = Recorder(
            self.kube,
            instance="operator-0",
            clock_ms=lambda: self.clock_ms,
            wall_ms=lambda: 1_790_000_000_123,
            dropped=self.dropped.append,
        )
        self.resource = {**particluster(), "metadata": {**particluster()["metadata"]}}
        self.resource["metadata"]["resourceVersion"] = "17"

    def record(self, *occurrences: Occurrence, resource: Object | None = None) -> None:
        run_virtual(self.recorder.record(resource or self.resource, occurrences))

    def written(self) -> list[Object]:
        return list(self.kube.all(EVENT))


def test_an_event_says_who_what_when() -> None:
    desk = _Desk()
    desk.record(Occurrence(EventReason.DRAIN_STALLED, "orders-4 owns 3", warning=True))
    [event] = desk.written()
    assert event["involvedObject"] == {
        "apiVersion": "parti.dev/v1alpha1",
        "kind": "PartiCluster",
        "name": "orders",
        "namespace": "shop",
        "uid": desk.resource["metadata"]["uid"],
        "resourceVersion": "17",
    }
    assert (event["type"], event["reason"], event["message"]) == (
        "Warning",
        "DrainStalled",
        "orders-4 owns 3",
    )
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-09-21T14:13:20Z"
    assert event["metadata"]["namespace"] == "shop"
    assert event["reportingInstance"] == "operator-0"


def test_the_same_is_told_once_in_a_while() -> None:
    desk = _Desk()
    for _ in range(5):
        desk.record(_SCALED)
    assert len(desk.written()) == 1
    assert desk.dropped == ["repeated"] * 4
    desk.clock_ms += REPEAT_MS
    desk.record(_SCALED)
    assert len(desk.written()) == 2


def test_another_message_or_cluster_is_another_event() -> None:
    desk = _Desk()
    other = particluster(name="other", uid="another")
    other["metadata"]["resourceVersion"] = "18"
    desk.record(_SCALED, Occurrence(EventReason.SCALED, "6 members"))
    desk.record(_SCALED, resource=other)
    assert len(desk.written()) == 3


def test_a_cluster_cannot_write_without_end() -> None:
    desk = _Desk()
    for number in range(EVENTS_MAX + 5):
        desk.record(Occurrence(EventReason.SCALED, str(number)))
    assert len(desk.written()) == EVENTS_MAX
    assert desk.dropped == ["too many"] * 5
    desk.clock_ms += REPEAT_MS
    desk.record(_SCALED)
    assert len(desk.written()) == EVENTS_MAX + 1


def test_a_refused_event_is_lost_and_nothing_else() -> None:
    desk = _Desk()
    desk.kube.fail("create", "events", 403)
    desk.record(_SCALED, Occurrence(EventReason.ROLL_STARTED, "x"))
    assert [event["reason"] for event in desk.written()] == ["RollStarted"]
    assert desk.dropped == ["refused"]


def test_a_long_message_is_cut() -> None:
    desk = _Desk()
    desk.record(Occurrence(EventReason.INVALID_SPEC, "x" * 5_000))
    assert len(desk.written()[0]["message"]) <= 1_024
