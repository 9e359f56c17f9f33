"""The words of the key-value store: what `client.kv` takes and gives.

from parti import kv

entry = await client.kv.get("config")
await client.kv.txn(
    compare=[kv.Compare("config", value="old")], then=[kv.Put("config", "new")]
)
"""

from parti._kv import Kv
from parti._kv_values import (
    Action,
    ActionResult,
    CasResult,
    Change,
    Compare,
    Delete,
    Entry,
    Get,
    Item,
    LockState,
    Page,
    Put,
    TxnResult,
)

__all__ = [
    "Action",
    "ActionResult",
    "CasResult",
    "Change",
    "Compare",
    "Delete",
    "Entry",
    "Get",
    "Item",
    "Kv",
    "LockState",
    "Page",
    "Put",
    "TxnResult",
]
