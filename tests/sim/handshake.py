"""What a member says first on a stream to another."""

from __future__ import annotations

from typing import NamedTuple

from parti_shard.ids import MemberId


class Handshake(NamedTuple):
    cluster_id: str
    from_member: MemberId
    to_member: MemberId
    from_address: str
