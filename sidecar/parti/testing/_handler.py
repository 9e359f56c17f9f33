"""Calling a handler as the worker would, without any of the rest."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from parti._handler import Handler
from parti._values import NO_HEADERS, Message, boottime_ms


async def run_handler(
    handler: Handler,
    payload: bytes | str = b"",
    *,
    key: bytes | str = b"",
    partition: int = 0,
    epoch: int = 1,
    headers: Mapping[str, str] = NO_HEADERS,
    timeout: float | None = None,  # noqa: ASYNC109 - told to the handler, not waited for
) -> bytes:
    """Call a handler with one message and return its reply as the sender would get it."""
    message = Message(
        partition=partition,
        epoch=epoch,
        key=key.encode() if isinstance(key, str) else key,
        payload=payload.encode() if isinstance(payload, str) else payload,
        headers=headers,
        deadline_ms=0 if timeout is None else boottime_ms() + int(timeout * 1000),
    )
    result = handler(message)
    if inspect.isawaitable(result):
        result = await result
    if result is None:
        return b""
    if isinstance(result, str):
        return result.encode()
    if not isinstance(result, bytes):
        raise TypeError(f"a handler returns bytes, str or None, not {type(result).__name__}")
    return result
