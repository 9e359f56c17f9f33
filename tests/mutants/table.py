"""All sabotages; the fast ones are judged in every run of the tests."""

from __future__ import annotations

from typing import Final

from tests.mutants.disks import DISKS
from tests.mutants.leases import LEASES
from tests.mutants.messages import MESSAGES
from tests.mutants.ownership import OWNERSHIP
from tests.mutants.raft_elections import RAFT_ELECTIONS
from tests.mutants.raft_groups import RAFT_GROUPS
from tests.mutants.raft_log import RAFT_LOG
from tests.mutants.stores import STORES

MUTANTS: Final = (
    *RAFT_ELECTIONS,
    *RAFT_LOG,
    *RAFT_GROUPS,
    *DISKS,
    *LEASES,
    *OWNERSHIP,
    *MESSAGES,
    *STORES,
)
FAST: Final = tuple(mutant for mutant in MUTANTS if mutant.fast)
