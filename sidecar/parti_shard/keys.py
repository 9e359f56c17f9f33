"""Keys to partitions. Every member and client must agree for ever, so the hash has no seed."""

from __future__ import annotations

import xxhash

from parti_shard.ids import PartitionId


def partition_of(key: bytes, partitions: int) -> PartitionId:
    return PartitionId(xxhash.xxh3_64_intdigest(key) % partitions)
