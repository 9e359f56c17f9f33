from __future__ import annotations

import pytest

from parti_shard.keys import partition_of

VECTORS = [
    (b"user-123", 18179754908829843001),
    (b"order-456", 12918670965912532913),
    (b"a", 16629034431890738719),
]


@pytest.mark.parametrize(("key", "digest"), VECTORS)
@pytest.mark.parametrize("partitions", [1, 7, 256, 65_536])
def test_partition_is_the_unseeded_hash_modulo_partitions(
    key: bytes, digest: int, partitions: int
) -> None:
    assert partition_of(key, partitions) == digest % partitions
