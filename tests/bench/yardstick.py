"""(a) The yardstick: a plain grpc.aio unary echo between two processes, uvloop on both sides.

`python -m tests.bench.yardstick serve` is the server process: it prints its port and serves until
its standard input ends.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import uvloop

from tests.bench.stats import Load

METHOD = "/parti.bench.Echo/Echo"
PAYLOAD = b"x" * 256


async def _echo(request: bytes, _context: object) -> bytes:
    return request


async def _serve() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.method_handlers_generic_handler(
        "parti.bench.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(_echo)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


@contextmanager
def echo_server() -> Iterator[str]:
    """A server process; gives its address and ends it afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.yardstick", "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


async def measure(address: str, callers: int, seconds: float) -> Load:
    """Closed-loop callers on one channel."""
    latencies: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(METHOD)
        for _ in range(50):
            await call(PAYLOAD)
        end = time.perf_counter() + seconds

        async def caller() -> None:
            now = time.perf_counter()
            while now < end:
                await call(PAYLOAD)
                after = time.perf_counter()
                latencies.append(after - now)
                now = after

        begun = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return Load.of(time.perf_counter() - begun, latencies)


if __name__ == "__main__":
    uvloop.run(_serve())
