"""A new member asks one known member after the other until one lets it in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from parti_proto import peer_pb2
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_shard.ids import MemberId
from parti_shard.limits import PROTOCOL_VERSION
from parti_sidecar import joining
from parti_sidecar.host import Admission, Applicant
from parti_sidecar.joining import CannotJoinError, join, join_request
from tests.parti_sidecar.fake_host import CLUSTER, FakeCluster

REQUEST = join_request(MemberId(9), name="nine", address="127.0.0.1:6009", zone="z", cluster_id="c")
ADMITTED = Admission("c", {})
Answer = Reason | Admission


class Script:
    """Answers of the addresses, in the order in which they are asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.waits = 0

    async def ask(self, address: str, request: peer_pb2.JoinRequest) -> Admission:
        assert request is REQUEST
        self.asked.append(address)
        answer = self.answers.pop(0)
        if isinstance(answer, Admission):
            return answer
        raise PartiError(Failure(answer, Executed.NO, "no"))

    def next_ms(self, *, refused: bool) -> float:
        assert not refused
        self.waits += 1
        return 0.0


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Script]:
    def set_up(*answers: Answer) -> Script:
        script = Script(*answers)
        monkeypatch.setattr(joining, "_ask", script.ask)
        monkeypatch.setattr(joining, "Backoff", lambda: script)
        return script

    return set_up


async def test_the_first_yes_counts(play: Callable[..., Script]) -> None:
    script = play(Reason.NO_LEADER, ADMITTED)
    assert await join(["a", "b", "c"], REQUEST) is ADMITTED
    assert script.asked == ["a", "b"]
    assert not script.waits


async def test_what_may_get_better_is_tried_again_after_a_while(
    play: Callable[..., Script],
) -> None:
    refusals = (
        Reason.NOT_READY,
        Reason.NO_LEADER,
        Reason.CONNECTION_LOST,
        Reason.PROPOSAL_DROPPED,
        Reason.DEADLINE_EXCEEDED,
        Reason.OVERLOADED,
    )
    script = play(*refusals, ADMITTED)
    assert await join(["a", "b"], REQUEST) is ADMITTED
    assert script.asked == ["a", "b", "a", "b", "a", "b", "a"]
    assert script.waits == 3


@pytest.mark.parametrize(
    "hopeless", [Reason.WRONG_CLUSTER, Reason.PROTOCOL_VERSION, Reason.INVALID_ARGUMENT]
)
async def test_what_never_can_be_is_raised(play: Callable[..., Script], hopeless: Reason) -> None:
    script = play(Reason.NO_LEADER, hopeless)
    with pytest.raises(CannotJoinError, match=f"refused by b: {hopeless.name}: no"):
        await join(["a", "b", "c"], REQUEST)
    assert script.asked == ["a", "b"]


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    found = FakeCluster()
    await found.start()
    try:
        yield found
    finally:
        await found.stop()


async def test_a_real_member_is_asked_with_everything_that_is_to_say(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = cluster.nodes[0]
    heard: list[Applicant] = []

    async def admit(applicant: Applicant) -> Admission:
        heard.append(applicant)
        return Admission(CLUSTER, {MemberId(1): "10.0.0.1:5101"})

    monkeypatch.setattr(node.host, "admit", admit)
    admission = await asyncio.wait_for(join([node.bound.peer], REQUEST), 10)
    assert admission == Admission(CLUSTER, {MemberId(1): "10.0.0.1:5101"})
    assert heard == [Applicant(MemberId(9), "nine", "127.0.0.1:6009", "z", "c", PROTOCOL_VERSION)]


async def test_a_member_that_is_not_there_does_not_stop_the_search(
    cluster: FakeCluster,
) -> None:
    gone = FakeCluster()
    await gone.start()
    nobody = gone.nodes[0].bound.peer
    await gone.stop()
    peer = cluster.nodes[0].bound.peer
    admission = await asyncio.wait_for(join([nobody, peer], REQUEST), 10)
    assert admission.cluster_id == CLUSTER


async def test_a_refusal_of_a_real_member_keeps_its_reason(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_applicant: Applicant) -> Admission:
        raise PartiError(Failure(Reason.WRONG_CLUSTER, Executed.NO, "this is cluster x"))

    monkeypatch.setattr(cluster.nodes[0].host, "admit", refuse)
    with pytest.raises(CannotJoinError, match="WRONG_CLUSTER: this is cluster x"):
        await asyncio.wait_for(join([cluster.nodes[0].bound.peer], REQUEST), 10)
