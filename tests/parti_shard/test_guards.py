"""Guards that no other test of this package would miss: the mutation gate named them."""

from __future__ import annotations

from parti_shard.commands import Grant
from tests.parti_shard.test_coordinator import settled
from tests.parti_shard.test_lease import INDEX, S1, holder


def test_a_lease_counts_from_the_sending_of_the_renewal_that_was_answered() -> None:
    """Those sent since prove nothing before they are answered themselves."""
    mine = holder()
    first, second = mine.sent(100), mine.sent(500)
    assert mine.acknowledged(first, S1, INDEX)
    assert mine.live_until_ms == 100 + 980
    assert mine.acknowledged(second, S1, INDEX)
    assert mine.live_until_ms == 500 + 980


def test_a_release_that_is_told_again_is_answered_once() -> None:
    """The holder repeats it with each renewal, until its table shows the grant."""
    scene = settled()
    partition = scene.table.owner.index(2)  # type: ignore[arg-type]
    released = ((partition, scene.table.epoch[partition]),)
    scene.renew(2, released)
    (grant,) = scene.turn()
    assert isinstance(grant, Grant)
    scene.renew(2, released)
    assert scene.turn() == []
    scene.apply([grant])
    scene.renew(2, released)
    assert scene.turn() == []
