"""Waiting for what becomes of commands, and for what turns make true."""

from __future__ import annotations

import asyncio

import pytest

from parti_shard.effects import Effects
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_sidecar import outcomes as outcomes_module
from parti_sidecar.outcomes import Outcomes

Tag = asyncio.Future[object]


async def test_each_caller_gets_its_own_outcome() -> None:
    outcomes, tags = Outcomes(), list[Tag]()
    first = asyncio.ensure_future(outcomes.of(tags.append))
    second = asyncio.ensure_future(outcomes.of(tags.append))
    await asyncio.sleep(0)
    failure = Failure(Reason.PROPOSAL_DROPPED, Executed.NO, "overwritten")
    outcomes.deliver(Effects(applied=[(tags[1], "value"), ("of others", 1)]))
    outcomes.deliver(Effects(failed=[(tags[0], failure), ("of others", failure)]))
    assert await second == "value"
    with pytest.raises(PartiError) as caught:
        await first
    assert caught.value.failure == failure


async def test_an_outcome_that_comes_within_the_question_counts() -> None:
    outcomes = Outcomes()
    assert await outcomes.of(lambda tag: outcomes.deliver(Effects(applied=[(tag, 5)]))) == 5


async def test_what_comes_too_late_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes_module, "OUTCOME_TIMEOUT_S", 0.01)
    outcomes, tags = Outcomes(), list[Tag]()
    with pytest.raises(PartiError) as caught:
        await outcomes.of(tags.append)
    assert caught.value.failure.reason is Reason.DEADLINE_EXCEEDED
    assert caught.value.failure.executed is Executed.UNKNOWN
    outcomes.deliver(Effects(applied=[(tags[0], 1)]))
    outcomes.deliver(Effects(failed=[(tags[0], Failure(Reason.NO_LEADER))]))


async def test_a_condition_is_looked_at_after_each_turn() -> None:
    outcomes, holds = Outcomes(), asyncio.Event()
    waiting = [asyncio.ensure_future(outcomes.until(holds.is_set)) for _ in range(2)]
    never = asyncio.ensure_future(outcomes.until(lambda: False))
    await asyncio.sleep(0)
    outcomes.deliver(Effects())
    await asyncio.sleep(0)
    assert not any(each.done() for each in waiting)
    waiting.pop().cancel()  # whoever gives up is forgotten
    holds.set()
    outcomes.deliver(Effects())
    await asyncio.wait_for(waiting[0], 5)
    assert not never.done()
    never.cancel()
    await asyncio.sleep(0)
    outcomes.deliver(Effects())
    assert not outcomes._waiters


async def test_what_holds_already_is_not_waited_for() -> None:
    await asyncio.wait_for(Outcomes().until(lambda: True), 5)
