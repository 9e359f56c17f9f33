"""A member's own session: what it says to the leader, when, and how often again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from parti_shard.codec import decode_batch
from parti_shard.commands import (
    Cause,
    CloseSession,
    Command,
    ExpireSession,
    Grant,
    Intent,
    NewMember,
    OpenSession,
    Outcome,
    Release,
    Revoke,
    SetIntent,
)
from parti_shard.ids import NO_MEMBER, NO_SESSION, Epoch, LogIndex, MemberId, PartitionId, SessionId
from parti_shard.lease import RenewAck, RenewRefusal
from parti_shard.own_session import REFUSED_AGAIN_MS, REQUEST_AGAIN_MS, OwnSession, Profile
from parti_shard.policy import Policy
from parti_shard.table import Table
from parti_shard.wire import Propose, Renew, RenewRefused

ME, OTHER = MemberId(1), MemberId(2)
P0, P1 = PartitionId(0), PartitionId(1)
NONCE = 40
RENEW_EVERY_MS = 400


@dataclass
class Bench:
    """A session that follows a table which the test drives."""

    table: Table = field(
        default_factory=lambda: Table.initial("c", 4, Policy(), NewMember(ME, "me", "host"))
    )
    now_ms: int = 50_000
    ready: bool = True
    removal_grace_ms: int = 0

    def __post_init__(self) -> None:
        profile = Profile("me", "host", "zone", capacity=3)
        self.own = OwnSession(ME, profile, NONCE, removal_grace_ms=self.removal_grace_ms)
        self.apply()

    def apply(self, *commands: Command) -> list[Outcome]:
        index = LogIndex(self.table.applied_index + 1)
        self.table.advance(index)
        outcomes = [self.table.apply(index, 0, command) for command in commands]
        self.own.follow(self.table)
        self.own.holder.check_invariants()
        return outcomes

    def says(self) -> Command | Renew | None:
        """What it says now; of a proposal, the command."""
        frame = self.own.next_frame(self.now_ms, 7, self.table, worker_ready=self.ready, load={})
        if isinstance(frame, Propose):
            at_unix_ms, commands = decode_batch(frame.batch)
            assert at_unix_ms == 7
            (command,) = commands
            return command
        return frame

    def renewal(self) -> Renew:
        said = self.says()
        assert isinstance(said, Renew), said
        return said

    def pass_time(self, ms: int) -> None:
        self.now_ms += ms

    def open(self) -> SessionId:
        said = self.says()
        assert isinstance(said, OpenSession), said
        self.apply(said)
        return self.own.session

    def grant(self, *partitions: PartitionId) -> None:
        epochs = self.table.epoch
        self.apply(*(Grant(p, epochs[p], ME, self.own.session, Cause.ORPHAN) for p in partitions))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_session_is_asked_for_and_renewed_at_once_when_it_is_open(bench: Bench) -> None:
    said = bench.says()
    assert said == OpenSession(ME, NO_SESSION, NONCE, "me", "host", "zone", 3)
    assert bench.own.session == NO_SESSION
    bench.apply(said)
    assert bench.own.session == 1
    assert bench.renewal().session == 1
    assert bench.says() is None


def test_a_request_is_repeated_while_it_is_not_seen_to_be_heard(bench: Bench) -> None:
    first = bench.says()
    assert bench.says() is None
    bench.pass_time(REQUEST_AGAIN_MS - 1)
    assert bench.says() is None
    bench.pass_time(1)
    assert bench.says() == first


def test_a_refused_request_is_repeated_soon(bench: Bench) -> None:
    first = bench.says()
    bench.own.request_refused(bench.now_ms)
    assert bench.says() is None
    bench.pass_time(REFUSED_AGAIN_MS)
    assert bench.says() == first


def test_a_refusal_never_puts_a_request_off(bench: Bench) -> None:
    bench.says()
    bench.pass_time(REQUEST_AGAIN_MS - 1)
    bench.own.request_refused(bench.now_ms)
    bench.pass_time(1)
    assert bench.says() is not None


def test_a_member_that_is_not_in_its_table_says_nothing() -> None:
    stranger = Bench(Table.initial("c", 4, Policy(), NewMember(OTHER, "other", "host")))
    assert stranger.says() is None
    assert Bench(Table.empty()).says() is None


def test_the_session_of_an_earlier_run_is_not_taken_for_the_own_one(bench: Bench) -> None:
    bench.apply(OpenSession(ME, NO_SESSION, NONCE - 1, "me", "host"))
    assert bench.own.session == NO_SESSION
    said = bench.says()
    assert isinstance(said, OpenSession)
    assert (said.previous_session, said.nonce) == (1, NONCE)
    bench.apply(said)
    assert bench.own.session == 2


def test_after_an_expiry_the_lease_is_gone_and_the_next_nonce_is_used(bench: Bench) -> None:
    session = bench.open()
    renew = bench.renewal()
    bench.own.answered(RenewAck(renew.seq, session, LogIndex(1)), bench.now_ms)
    assert bench.own.holder.is_live(bench.now_ms)
    bench.apply(ExpireSession(session))
    assert not bench.own.holder.is_live(bench.now_ms)
    said = bench.says()  # at once, whatever was asked for lately
    assert isinstance(said, OpenSession)
    assert (said.previous_session, said.nonce) == (session, NONCE + 1)


def test_renewals_are_due_in_time_and_when_there_is_something_to_say(bench: Bench) -> None:
    bench.open()
    bench.renewal()
    bench.pass_time(RENEW_EVERY_MS - 1)
    assert bench.says() is None
    bench.pass_time(1)
    bench.renewal()
    bench.ready = False
    assert not bench.renewal().worker_ready
    bench.own.draining = True
    assert bench.renewal().draining
    assert bench.says() is None


def test_a_release_is_told_at_once_and_again_until_the_table_shows_it(bench: Bench) -> None:
    session = bench.open()
    bench.grant(P0, P1)
    bench.renewal()
    bench.own.released([(P0, Epoch(1))])
    assert bench.renewal().released == ((P0, 1),)
    bench.own.released([(P1, Epoch(1))])
    assert bench.renewal().released == ((P0, 1), (P1, 1))
    bench.apply(Grant(P0, Epoch(1), ME, session, Cause.WORKER_REPLACED))
    bench.pass_time(RENEW_EVERY_MS)
    assert bench.renewal().released == ((P1, 1),)
    bench.apply(ExpireSession(session))
    bench.open()
    assert bench.renewal().released == ()


def test_a_new_leader_hears_of_it_at_once(bench: Bench) -> None:
    bench.says()
    bench.own.leader_changed()
    bench.open()
    bench.renewal()
    assert bench.says() is None
    bench.own.leader_changed()
    bench.renewal()
    assert bench.says() is None


@pytest.mark.parametrize(
    ("reason", "again_after_ms"),
    [
        (RenewRefusal.NOT_LEADER, REFUSED_AGAIN_MS),
        (RenewRefusal.UNKNOWN_SESSION, RENEW_EVERY_MS),
        (RenewRefusal.OVERLOADED, RENEW_EVERY_MS),
    ],
)
def test_only_a_leader_to_be_is_asked_again_soon(
    bench: Bench, reason: RenewRefusal, again_after_ms: int
) -> None:
    session = bench.open()
    renew = bench.renewal()
    bench.own.answered(RenewRefused(renew.seq, session, reason), bench.now_ms)
    assert bench.own.refused == 1
    assert bench.says() is None
    bench.pass_time(again_after_ms - 1)
    assert bench.says() is None
    bench.pass_time(1)
    bench.renewal()


def test_closing_gives_the_session_up_at_once_and_asks_until_it_is_over(bench: Bench) -> None:
    session = bench.open()
    bench.renewal()
    bench.own.close()
    assert bench.own.session == NO_SESSION
    assert not bench.own.is_closed
    assert bench.says() == CloseSession(session)
    assert bench.says() is None
    bench.apply()  # the table still shows it, and it is not taken up again
    assert bench.own.session == NO_SESSION
    bench.pass_time(REQUEST_AGAIN_MS)
    assert bench.says() == CloseSession(session)
    bench.apply(CloseSession(session))
    assert bench.own.is_closed
    bench.pass_time(REQUEST_AGAIN_MS)
    assert bench.says() is None


def test_closing_what_was_given_up_before_does_not_take_it_up_again(bench: Bench) -> None:
    session = bench.open()
    bench.apply(SetIntent(ME, Intent.REMOVE))
    assert bench.says() == CloseSession(session)
    bench.own.close()
    assert not bench.own.is_closed
    bench.apply()
    assert bench.own.session == NO_SESSION
    bench.pass_time(REQUEST_AGAIN_MS)
    assert bench.says() == CloseSession(session)


def test_a_session_that_opens_after_the_close_is_closed_as_well(bench: Bench) -> None:
    asked = bench.says()
    assert isinstance(asked, OpenSession)
    bench.own.close()
    assert bench.own.is_closed
    assert bench.says() is None
    bench.apply(asked)
    assert not bench.own.is_closed
    bench.pass_time(REQUEST_AGAIN_MS)
    assert bench.says() == CloseSession(SessionId(1))


def test_a_member_that_is_being_removed_asks_without_filling_the_log(bench: Bench) -> None:
    session = bench.open()
    bench.apply(SetIntent(ME, Intent.REMOVE))
    assert bench.says() == CloseSession(session)
    bench.apply(CloseSession(session))
    for _ in range(3):
        assert bench.renewal().session == NO_SESSION
        assert bench.says() is None
        bench.pass_time(REQUEST_AGAIN_MS)
    bench.apply(SetIntent(ME, Intent.NONE))
    bench.pass_time(REQUEST_AGAIN_MS)
    assert isinstance(bench.says(), OpenSession)


def test_a_removed_member_goes_on_for_a_while_for_its_application() -> None:
    bench = Bench(removal_grace_ms=1_000)
    session = bench.open()
    bench.apply(SetIntent(ME, Intent.REMOVE))
    assert bench.renewal().session == session
    bench.pass_time(999)
    assert bench.renewal().session == session
    bench.pass_time(1)
    assert bench.says() == CloseSession(session)


def test_a_removal_that_is_taken_back_and_ordered_again_counts_anew() -> None:
    bench = Bench(removal_grace_ms=1_000)
    session = bench.open()
    for _ in range(3):
        for intent in (Intent.REMOVE, Intent.NONE):
            bench.apply(SetIntent(ME, intent))
            assert bench.says() != CloseSession(session)
            bench.pass_time(900)
            assert bench.renewal().session == session


def test_a_removed_member_that_is_told_to_stop_ends_its_session_itself() -> None:
    bench = Bench(removal_grace_ms=1_000)
    session = bench.open()
    bench.apply(SetIntent(ME, Intent.REMOVE))
    bench.own.draining = True
    assert bench.renewal().session == session
    bench.pass_time(10_000)
    assert bench.renewal().session == session
    bench.own.close()
    assert bench.says() == CloseSession(session)


def test_a_member_that_shall_go_keeps_its_session_while_it_owns_something(bench: Bench) -> None:
    session = bench.open()
    bench.grant(P0)
    bench.renewal()
    bench.apply(SetIntent(ME, Intent.REMOVE))
    bench.pass_time(RENEW_EVERY_MS)
    assert bench.renewal().session == session
    bench.apply(Revoke(P0, Epoch(1), NO_MEMBER, Cause.DRAIN), Release(P0, Epoch(1), session))
    assert bench.says() == CloseSession(session)
    assert bench.own.session == NO_SESSION
