"""The table: each guard of each command, and what holds whatever is applied in whatever order."""

from __future__ import annotations

import random
from typing import Any

import pytest

from parti_shard.commands import (
    Cause,
    CloseSession,
    Command,
    DescribeMember,
    ExpireSession,
    Grant,
    Intent,
    NewMember,
    OpenSession,
    Outcome,
    Pin,
    Rejection,
    Release,
    Revoke,
    SetIntent,
    SetPolicy,
)
from parti_shard.errors import MalformedFrameError
from parti_shard.policy import Policy
from parti_shard.table import Phase, Table
from parti_shard.table_codec import RollbackError


def new_table(partitions: int = 4, members: int = 2) -> Table:
    table = Table.initial("c", partitions, Policy(), member(1))
    for number in range(2, members + 1):
        table.member_added(table.applied_index, member(number))
    return table


def member(number: int) -> NewMember:
    return NewMember(number, f"a-{number}", f"host-{number}")  # type: ignore[arg-type]


def opening(number: int, previous: int, nonce: int, **more: Any) -> OpenSession:
    known: dict[str, Any] = {"member": number, "previous_session": previous, "nonce": nonce}
    return OpenSession(**known, name=f"a-{number}", address="x", **more)


def do(table: Table, command: Command) -> Outcome:
    outcome = table.apply(table.applied_index + 1, 1_000, command)  # type: ignore[arg-type]
    table.check_invariants()
    return outcome


def grant(partition: int, epoch: int, number: int, session: int) -> Grant:
    values: Any = (partition, epoch, number, session, Cause.ORPHAN)
    return Grant(*values)


def revoke(partition: int, epoch: int, target: int) -> Revoke:
    values: Any = (partition, epoch, target, Cause.DRAIN)
    return Revoke(*values)


def release(*values: Any) -> Release:
    return Release(*values)


def owned_table() -> Table:
    """Return a table where member 1 has session 1 and owns partition 0 under epoch 1."""
    table = new_table()
    assert do(table, opening(1, 0, 7)) == Outcome(value=1)
    assert do(table, opening(2, 0, 8)) == Outcome(value=2)
    assert do(table, grant(0, 0, 1, 1)).ok
    return table


def test_a_graceful_move_takes_a_revoke_and_a_grant() -> None:
    table = owned_table()
    assert do(table, revoke(0, 1, 2)).ok
    assert (table.phase[0], table.target[0], table.epoch[0]) == (Phase.REVOKING, 2, 1)
    assert do(table, grant(0, 1, 2, 2)).ok
    assert (table.phase[0], table.owner[0], table.epoch[0]) == (Phase.OWNED, 2, 2)
    assert table.target[0] == 0
    assert [c.change.label for c in table.history[0]] == ["granted", "revoked", "granted"]


REFUSED: list[tuple[Command, Rejection]] = [
    (grant(0, 0, 1, 1), Rejection.WRONG_EPOCH),
    (grant(0, 2, 1, 1), Rejection.WRONG_EPOCH),
    (grant(0, 1, 1, 2), Rejection.UNKNOWN_SESSION),
    (grant(0, 1, 2, 9), Rejection.UNKNOWN_SESSION),
    (grant(4, 0, 1, 1), Rejection.BAD_PARTITION),
    (revoke(0, 0, 2), Rejection.WRONG_EPOCH),
    (revoke(1, 0, 2), Rejection.WRONG_PHASE),
    (revoke(0, 1, 9), Rejection.UNKNOWN_MEMBER),
    (revoke(4, 0, 2), Rejection.BAD_PARTITION),
    (release(0, 0, 1), Rejection.WRONG_EPOCH),
    (release(0, 1, 2), Rejection.WRONG_SESSION),
    (release(1, 0, 0), Rejection.WRONG_PHASE),
    (release(4, 0, 0), Rejection.BAD_PARTITION),
    (opening(9, 0, 1), Rejection.UNKNOWN_MEMBER),
    (opening(1, 0, 99), Rejection.WRONG_SESSION),
    (opening(1, 1, 99, capacity=0), Rejection.BAD_CAPACITY),
    (CloseSession(9), Rejection.UNKNOWN_SESSION),  # type: ignore[arg-type]
    (ExpireSession(9), Rejection.UNKNOWN_SESSION),  # type: ignore[arg-type]
    (SetIntent(9, Intent.DRAIN), Rejection.UNKNOWN_MEMBER),  # type: ignore[arg-type]
    (DescribeMember(9, "z", 1), Rejection.UNKNOWN_MEMBER),  # type: ignore[arg-type]
    (Pin(0, 9), Rejection.UNKNOWN_MEMBER),  # type: ignore[arg-type]
    (Pin(4, 1), Rejection.BAD_PARTITION),  # type: ignore[arg-type]
    (SetPolicy(Policy(voters_max=2)), Rejection.BAD_POLICY),
]


@pytest.mark.parametrize(("command", "rejection"), REFUSED)
def test_a_command_that_does_not_fit_changes_nothing_and_is_counted(
    command: Command, rejection: Rejection
) -> None:
    table = owned_table()
    table.take_changed()
    before = table.snapshot()[9:]  # without version and applied index
    assert do(table, command).rejection is rejection
    assert table.snapshot()[9:] == before
    assert table.rejections[rejection] == 1
    assert table.take_changed() == []


def test_a_revoking_partition_is_not_revoked_again() -> None:
    table = owned_table()
    assert do(table, revoke(0, 1, 2)).ok
    assert do(table, revoke(0, 1, 1)).rejection is Rejection.WRONG_PHASE


def test_opening_again_with_the_same_nonce_gives_the_same_session() -> None:
    table = owned_table()
    assert do(table, opening(1, 0, 7)) == Outcome(value=1)
    assert table.owner[0] == 1


def test_a_late_repeat_of_an_opening_opens_no_ghost() -> None:
    table = owned_table()
    assert do(table, ExpireSession(1)).ok  # type: ignore[arg-type]
    assert do(table, opening(1, 0, 7)) == Outcome(Rejection.SESSION_OVER, 1)
    assert do(table, opening(1, 1, 17)) == Outcome(value=3)
    assert do(table, opening(1, 0, 7)) == Outcome(Rejection.WRONG_SESSION, 3)


def test_a_new_session_ends_the_one_it_names_and_frees_its_partitions() -> None:
    table = owned_table()
    assert do(table, opening(1, 1, 9)) == Outcome(value=3)
    assert (table.phase[0], table.owner[0], table.epoch[0]) == (Phase.FREE, 0, 1)
    assert table.last_owner(0) == 1  # type: ignore[arg-type]
    assert table.sessions == {2: 2, 3: 1}


@pytest.mark.parametrize("ending", [CloseSession, ExpireSession])
def test_ending_a_session_frees_its_partitions_and_keeps_their_epochs(ending: Any) -> None:
    table = owned_table()
    table.take_changed()
    assert do(table, ending(1)).ok
    assert (table.phase[0], table.session[0], table.epoch[0]) == (Phase.FREE, 0, 1)
    assert table.take_changed() == [0]
    assert do(table, grant(0, 0, 2, 2)).rejection is Rejection.WRONG_EPOCH
    assert do(table, grant(0, 1, 2, 2)).ok


def test_a_member_that_is_to_be_removed_opens_no_session() -> None:
    table = owned_table()
    assert do(table, SetIntent(1, Intent.REMOVE)).ok  # type: ignore[arg-type]
    assert do(table, opening(1, 1, 9)).rejection is Rejection.MEMBER_LEAVING


def test_a_member_is_taken_out_only_without_a_session() -> None:
    table = owned_table()
    assert do(table, Pin(1, 2)).ok  # type: ignore[arg-type]
    assert do(table, revoke(0, 1, 2)).ok
    index: Any = table.applied_index
    assert table.member_removed(index, 2).rejection is Rejection.SESSION_OPEN  # type: ignore[arg-type]
    assert do(table, CloseSession(2)).ok  # type: ignore[arg-type]
    index = table.applied_index
    assert table.member_removed(index, 2).ok  # type: ignore[arg-type]
    assert (table.pins, table.target[0]) == ({}, 0)
    table.check_invariants()


def test_adding_a_known_member_again_keeps_its_session() -> None:
    table = owned_table()
    table.member_added(table.applied_index, member(1))
    table.check_invariants()
    assert table.members[1].session == 1  # type: ignore[index]


def random_command(rng: random.Random, table: Table) -> Command:
    partition, number = rng.randrange(table.partitions + 1), rng.randrange(1, 5)
    epoch = rng.choice((*table.epoch[partition : partition + 1], rng.randrange(4)))
    session: Any = rng.choice((*table.sessions, rng.randrange(table.next_session + 1)))
    holder = table.sessions.get(session, number)
    intent: Any = rng.choice((*Intent, Intent.NONE, Intent.NONE))
    who: Any = number
    known = table.members.get(who)
    previous = known.last_session if known else 0
    where: Any = partition
    choices: list[Command] = [
        grant(partition, epoch, holder, session),
        grant(partition, epoch, holder, session),
        revoke(partition, epoch, rng.randrange(5)),
        release(partition, epoch, session),
        CloseSession(session),
        ExpireSession(session),
        opening(number, previous, rng.randrange(300)),
        opening(number, session, rng.randrange(300)),
        SetIntent(who, intent),
        Pin(where, who),
    ]
    return rng.choice(choices)


@pytest.mark.parametrize("seed", range(25))
def test_any_order_with_repeats_keeps_the_invariants(seed: int) -> None:
    rng = random.Random(seed)
    table, twin = new_table(members=3), new_table(members=3)
    done: list[Command] = []
    for step in range(1, 400):
        command = rng.choice(done) if done and rng.random() < 0.3 else random_command(rng, table)
        done.append(command)
        before = list(table.epoch)
        table.apply(step, step * 10, command)  # type: ignore[arg-type]
        twin.apply(step, step * 10, command)  # type: ignore[arg-type]
        table.check_invariants()
        raised = [after - old for old, after in zip(before, table.epoch, strict=True)]
        assert min(raised) >= 0, (seed, step, command)
        assert sum(raised) <= 1, (seed, step, command)
        if sum(raised):
            assert isinstance(command, Grant), (seed, step, command)
        if step % 100 == 0:
            restored = Table.empty()
            restored.restore(table.snapshot())
            assert restored.digest() == table.digest() == twin.digest(), (seed, step)
            twin = restored
    assert max(table.epoch) > 0, "the test granted nothing"


def test_a_restored_table_tells_all_its_partitions() -> None:
    table, other = owned_table(), Table.empty()
    owners = other.owner
    other.restore(table.snapshot())
    assert other.take_changed() == [0, 1, 2, 3]
    assert other.owner is owners, "readers may hold on to the lists"
    assert other.snapshot() == table.snapshot()


def test_a_snapshot_never_takes_a_table_back() -> None:
    table = owned_table()
    old = table.snapshot()
    assert do(table, revoke(0, 1, 0)).ok
    with pytest.raises(RollbackError, match="behind"):
        table.restore(old)
    fresh = new_table()
    fresh.advance(table.applied_index)
    with pytest.raises(RollbackError, match="epoch falls"):
        table.restore(fresh.snapshot())
    foreign = Table.initial("other", 4, Policy(), member(1))
    with pytest.raises(RollbackError, match="cluster"):
        table.restore(foreign.snapshot())


def test_a_damaged_snapshot_is_refused_as_a_whole() -> None:
    whole = owned_table().snapshot()
    for cut in range(len(whole)):
        with pytest.raises(MalformedFrameError):
            Table.empty().restore(whole[:cut])
    with pytest.raises(MalformedFrameError):
        Table.empty().restore(whole + b"\0")
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x41
        table = Table.empty()
        try:
            table.restore(bytes(damaged))
        except MalformedFrameError:
            assert table.partitions == 0
        else:
            table.check_invariants()
