"""A new member asks one known member after the other until one lets it in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from parti_proto import peer_pb2
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_shard.ids import MemberId
from parti_shard.limits import PROTOCOL_VERSION
from parti_sidecar import joining
from parti_sidecar.host import Admission, Applicant
from parti_sidecar.joining import CannotJoinError, Joiner, ask, join_request
from parti_sidecar.resolving import Resolver
from tests.parti_sidecar.fake_host import CLUSTER, FakeCluster, FakeHost, Node

MINE = "10.0.0.9:5101"
REQUEST = join_request(MemberId(9), name="nine", address=MINE, zone="z", cluster_id="c")
ADMITTED = Admission("c", {})
NOBODY = Failure(Reason.CONNECTION_LOST, Executed.NO, "nobody answers")
NO_CLUSTER = Failure(Reason.NOT_READY, Executed.NO, "not part of a cluster")
Answer = Reason | Failure | Admission


class FakeResolver(Resolver):
    """Every name is its own address, except those that are given."""

    def __init__(self, **names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        self.resolved = 0

    async def resolve(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        self.resolved += 1
        return {name: self.names.get(name, (name,)) for name in names}


class Script:
    """Answers of the addresses, in the order in which they are asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def ask(self, address: str, request: peer_pb2.JoinRequest) -> Admission:
        assert request is REQUEST
        self.asked.append(address)
        answer = self.answers.pop(0)
        if isinstance(answer, Admission):
            return answer
        raise PartiError(answer if isinstance(answer, Failure) else no(answer))


def no(reason: Reason) -> Failure:
    return Failure(reason, Executed.NO, "no")


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Script]:
    def set_up(*answers: Answer) -> Script:
        script = Script(*answers)
        monkeypatch.setattr(joining, "ask", script.ask)
        monkeypatch.setattr(joining, "ROUND_AGAIN_FIRST_MS", 0)
        return script

    return set_up


def joiner(*names: str, **resolved: tuple[str, ...]) -> Joiner:
    return Joiner(names, REQUEST, FakeResolver(**resolved))


async def join(*names: str, **resolved: tuple[str, ...]) -> Admission | None:
    return await asyncio.wait_for(joiner(*names, **resolved).admission(), 10)


async def test_the_first_yes_counts(play: Callable[..., Script]) -> None:
    script = play(Reason.NO_LEADER, ADMITTED)
    assert await join("a", "b", "c") is ADMITTED
    assert script.asked == ["a", "b"]


async def test_what_may_get_better_is_tried_again(play: Callable[..., Script]) -> None:
    refusals = (
        Reason.NOT_READY,
        Reason.NO_LEADER,
        Reason.CONNECTION_LOST,
        Reason.PROPOSAL_DROPPED,
        Reason.DEADLINE_EXCEEDED,
        Reason.OVERLOADED,
    )
    script = play(*refusals, ADMITTED)
    assert await join("a", "b") is ADMITTED
    assert script.asked == ["a", "b", "a", "b", "a", "b", "a"]


async def test_rounds_become_rarer_up_to_a_limit(
    play: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    play(*[Reason.NOT_READY] * 8, ADMITTED)
    monkeypatch.setattr(joining, "ROUND_AGAIN_FIRST_MS", 100)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("parti_sidecar.joining.asyncio.sleep", sleep)
    await join("a")
    assert len(waits) == 8
    assert 0.08 <= waits[0] <= 0.12
    assert all(1.2 <= wait <= 1.8 for wait in waits[-3:])


@pytest.mark.parametrize(
    "hopeless", [Reason.WRONG_CLUSTER, Reason.PROTOCOL_VERSION, Reason.INVALID_ARGUMENT]
)
async def test_what_never_can_be_is_raised(play: Callable[..., Script], hopeless: Reason) -> None:
    script = play(NOBODY, hopeless)
    with pytest.raises(CannotJoinError, match=f"refused by b: {hopeless.name}: no"):
        await join("a", "b")
    assert script.asked == ["a", "b"]


async def test_a_pod_of_another_cluster_does_not_end_the_search(
    play: Callable[..., Script],
) -> None:
    """A set that was made anew under its old name finds pods of the old one for a while."""
    script = play(Reason.WRONG_CLUSTER, NO_CLUSTER, NOBODY, NO_CLUSTER, Reason.NO_LEADER, ADMITTED)
    assert await join("a", "b") is ADMITTED
    assert len(script.asked) == 6


async def test_every_address_of_a_name_is_asked_once_and_never_the_own(
    play: Callable[..., Script],
) -> None:
    script = play(Reason.NO_LEADER, Reason.NO_LEADER, ADMITTED)
    everybody = ("10.0.0.1:5101", MINE, "10.0.0.2:5101", "10.0.0.3:5101")
    found = await join(
        "zero", "one", "nine", "missing", "all",
        zero=("10.0.0.1:5101",), one=("10.0.0.2:5101",), nine=(MINE,), missing=(), all=everybody,
    )  # fmt: skip
    assert found is ADMITTED
    assert script.asked == ["10.0.0.1:5101", "10.0.0.2:5101", "10.0.0.3:5101"]


async def test_the_own_address_is_known_by_its_name_too(
    play: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = play()
    request = join_request(MemberId(9), name="n", address="nine", zone="", cluster_id="")
    monkeypatch.setitem(globals(), "REQUEST", request)
    resolver = FakeResolver(nine=("10.0.0.9:5101",), all=("10.0.0.9:5101",))
    alone = Joiner(["nine", "all"], request, resolver)
    asking = asyncio.ensure_future(alone.admission())
    async with asyncio.timeout(10):
        while resolver.resolved < 3:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0)
    asking.cancel()
    assert not script.asked


# --- told to found the cluster instead


async def test_who_stands_back_asks_no_more(play: Callable[..., Script]) -> None:
    script = play(NO_CLUSTER, NOBODY, Reason.WRONG_CLUSTER)
    asked = joiner("a", "b", "c")
    await asked.stand_back()
    await asked.stand_back()
    assert await asked.admission() is None
    assert script.asked == ["a", "b", "c"]


@pytest.mark.parametrize(
    "answer",
    [
        no(Reason.NO_LEADER),
        no(Reason.CONFLICT),
        no(Reason.PROPOSAL_DROPPED),
        Failure(Reason.CONNECTION_LOST, Executed.UNKNOWN, "lost"),
        Failure(Reason.DEADLINE_EXCEEDED, Executed.UNKNOWN, "late"),
    ],
    ids=lambda failure: f"{failure.reason.name}-{failure.executed.name}",
)
async def test_nobody_stands_back_beside_a_cluster(
    play: Callable[..., Script], answer: Failure
) -> None:
    play(NO_CLUSTER, answer, ADMITTED)
    asked = joiner("a", "b")
    with pytest.raises(PartiError, match="b may be of a cluster already"):
        await asked.stand_back()
    assert await asked.admission() is ADMITTED


async def test_a_yes_to_the_last_question_is_not_lost(play: Callable[..., Script]) -> None:
    play(ADMITTED)
    asked = joiner("a")
    with pytest.raises(PartiError, match="was taken into cluster c"):
        await asked.stand_back()
    assert await asked.admission() is ADMITTED


# --- over gRPC


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
    request = join_request(MemberId(9), name="nine", address=MINE, zone="z", cluster_id=CLUSTER)
    heard: list[Applicant] = []

    async def admit(applicant: Applicant) -> Admission:
        heard.append(applicant)
        return Admission(CLUSTER, {MemberId(1): "10.0.0.1:5101"}, 2)

    monkeypatch.setattr(node.host, "admit", admit)
    assert await ask(node.bound.peer, request) == Admission(
        CLUSTER, {MemberId(1): "10.0.0.1:5101"}, 2
    )
    assert heard == [Applicant(MemberId(9), "nine", MINE, "z", CLUSTER, PROTOCOL_VERSION)]


async def failure_of_asking(address: str) -> Failure:
    with pytest.raises(PartiError) as caught:
        await ask(address, REQUEST)
    return caught.value.failure


async def test_a_member_that_is_not_there_was_asked_nothing() -> None:
    gone = FakeCluster()
    await gone.start()
    nobody = gone.nodes[0].bound.peer
    await gone.stop()
    failure = await failure_of_asking(nobody)
    assert (failure.reason, failure.executed) == (Reason.CONNECTION_LOST, Executed.NO)


async def test_a_process_that_accepts_and_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joining, "CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        failure = await asyncio.wait_for(failure_of_asking(f"{host}:{port}"), 5)
    assert (failure.reason, failure.executed) == (Reason.CONNECTION_LOST, Executed.NO)


async def test_a_member_without_a_cluster_says_so_at_once() -> None:
    node = Node(FakeHost(me=MemberId(1), table=None))
    await node.start()
    failure = await failure_of_asking(node.bound.peer)
    await node.stop()
    assert failure == Failure(Reason.NOT_READY, Executed.NO, "this member is not part of a cluster")


async def test_a_follower_without_a_leader_knows_its_cluster(cluster: FakeCluster) -> None:
    cluster.nodes[0].host.leader_is = MemberId(0)
    failure = await failure_of_asking(cluster.nodes[0].bound.peer)
    assert (failure.reason, failure.message) == (
        Reason.WRONG_CLUSTER,
        f"this is cluster {CLUSTER}",
    )
