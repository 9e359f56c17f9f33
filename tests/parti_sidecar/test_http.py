"""The HTTP port over real sockets: what is answered, and what ends a connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from parti_sidecar import http
from parti_sidecar.config_kinds import split_address
from parti_sidecar.http import HttpBindError, HttpRequest, HttpResponse, HttpServer
from parti_sidecar.http_pages import ClusterPage, MemberRow, sidecar_routes

DEADLINE_S = 5.0
LARGE_BYTES = 64 << 20
CLOSE = "Host: x\r\nConnection: close\r\n"


class View:
    """What a driver tells, as a test likes it."""

    def __init__(self) -> None:
        self.missing: tuple[str, ...] = ()
        self.page = ClusterPage("c1", "m1", "ready", 3, 41, 64, 1, 2, ())

    def start_missing(self) -> tuple[str, ...]:
        return ()

    def health_missing(self) -> tuple[str, ...]:
        return ()

    def ready_missing(self) -> tuple[str, ...]:
        return self.missing

    def cluster_page(self) -> ClusterPage:
        return self.page


async def echo(request: HttpRequest) -> HttpResponse:
    told = f"{request.method} {request.query} {len(request.body)}"
    return HttpResponse(200, told.encode())


async def crash(_request: HttpRequest) -> HttpResponse:
    raise ValueError("secret words")


async def large(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(200, bytes(LARGE_BYTES))


async def sleep(_request: HttpRequest) -> HttpResponse:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


@asynccontextmanager
async def serving(view: View | None = None) -> AsyncIterator[tuple[HttpServer, str]]:
    server = HttpServer()
    server.add_routes(sidecar_routes(view or View(), echo))
    server.add_routes({"/echo": {"GET": echo, "PUT": echo}})
    server.add_routes(
        {"/crash": {"GET": crash}, "/sleep": {"GET": sleep}, "/large": {"GET": large}}
    )
    address = await server.start("127.0.0.1:0")
    try:
        yield server, address
    finally:
        await server.stop()


async def talk(address: str, raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, read to the end of the connection; the first answer."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(*split_address(address))
        writer.write(raw)
        received = await reader.read()
        writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
    assert len(headers) == len(lines)
    return int(status_line.split(" ")[1]), headers, body


async def get(address: str, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    return await talk(address, f"{method} {path} HTTP/1.1\r\n{CLOSE}\r\n".encode())


async def test_probes_tell_why_not() -> None:
    view = View()
    async with serving(view) as (_, address):
        for path in ("/startupz", "/healthz", "/readyz"):
            status, headers, body = await get(address, path)
            assert (status, json.loads(body)) == (200, {"ok": True, "reasons": []})
            assert headers["content-type"] == "application/json"
        view.missing = ("not in a cluster yet",)
        status, _, body = await get(address, "/readyz")
        assert (status, json.loads(body)["reasons"]) == (503, ["not in a cluster yet"])
        assert (await get(address, "/healthz"))[0] == 200


async def test_the_page_shows_members_and_escapes_their_names() -> None:
    view = View()
    row = MemberRow("<script>", "0a", "127.0.0.1:1", "voter", True, "ready", 22)
    view.page = ClusterPage("c1", "m1", "ready", 3, 41, 64, 1, 2, (row,))
    async with serving(view) as (_, address):
        status, headers, body = await get(address, "/")
    text = body.decode()
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "<script>" not in text
    assert "<td>&lt;script&gt;</td>" in text
    assert "<td>leader</td>" in text
    assert '<td class="n">22</td>' in text
    assert "64 partitions, 1 free, 2 on the move" in text


async def test_the_page_of_a_waiting_member_says_so() -> None:
    view = View()
    view.page = ClusterPage("", "m1", "waiting", 0, 0, 0, 0, 0, ())
    async with serving(view) as (_, address):
        assert b"not in a cluster yet" in (await get(address, "/"))[2]


async def test_unknown_paths_and_methods() -> None:
    async with serving() as (server, address):
        assert (await get(address, "/nothing"))[0] == 404
        status, headers, _ = await get(address, "/readyz", "DELETE")
        assert (status, headers["allow"]) == (405, "GET")
        assert server.answers == {("other", 404): 1, ("/readyz", 405): 1}


async def test_head_gives_the_headers_only() -> None:
    async with serving() as (_, address):
        status, headers, body = await get(address, "/echo", "HEAD")
        assert (status, headers["content-length"], body) == (200, "7", b"")


async def test_requests_follow_each_other_on_one_connection() -> None:
    async with serving() as (_, address), asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(*split_address(address))
        for n in range(3):
            writer.write(f"GET /echo?{n} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(7) == f"GET {n} 0".encode()
        writer.close()


async def test_bodies_are_read_up_to_the_limit() -> None:
    size = http.BODY_BYTES_MAX
    async with serving() as (_, address):
        head = f"PUT /echo HTTP/1.1\r\n{CLOSE}Content-Length: {size}\r\n\r\n"
        status, _, body = await talk(address, head.encode() + b"x" * size)
        assert (status, body) == (200, f"PUT  {size}".encode())
        chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
        head = f"PUT /echo HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n"
        status, headers, _ = await talk(address, head.encode() + chunk + b"1\r\ny\r\n")
        assert (status, headers["connection"]) == (413, "close")


async def test_a_caller_that_asks_first_is_told_to_go_on() -> None:
    async with serving() as (_, address), asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(*split_address(address))
        head = f"PUT /echo HTTP/1.1\r\n{CLOSE}Expect: 100-continue\r\nContent-Length: 1\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(b"x")
        assert (await reader.read()).endswith(b"PUT  1")
        writer.close()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * (32 << 10), 431),
    ],
)
async def test_what_is_no_http_is_refused_and_the_server_goes_on(raw: bytes, status: int) -> None:
    async with serving() as (_, address):
        found, headers, _ = await talk(address, raw)
        assert (found, headers["connection"]) == (status, "close")
        assert (await get(address, "/healthz"))[0] == 200


async def test_a_failing_handler_tells_nothing_and_the_server_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as (_, address):
        status, _, body = await get(address, "/crash")
        assert (status, b"secret" in body) == (500, False)
        assert "secret words" in caplog.text
        assert (await get(address, "/healthz"))[0] == 200


async def test_a_slow_handler_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HANDLER_TIMEOUT_S", 0.01)
    async with serving() as (_, address):
        assert (await get(address, "/sleep"))[0] == 504


async def test_a_slow_request_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_TIMEOUT_S", 0.05)
    async with serving() as (_, address):
        assert (await talk(address, b"GET / HTTP/1.1\r\nHost:"))[0] == 408


async def test_an_answer_nobody_takes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ANSWER_TIMEOUT_S", 0.05)
    async with serving() as (server, address), asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(*split_address(address), limit=1)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: server.answers["/large", 200] == 1)
        await until(lambda: not server._connections)
        received = 0
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(1 << 20):
                received += len(chunk)
        assert received < LARGE_BYTES
        writer.close()


async def test_a_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_TIMEOUT_S", 0.05)
    async with serving() as (_, address), asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(*split_address(address))
        assert await reader.read() == b""
        writer.close()


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECTIONS_MAX", 1)
    async with serving() as (server, address), asyncio.timeout(DEADLINE_S):
        _, first = await asyncio.open_connection(*split_address(address))
        await until(lambda: len(server._connections) == 1)
        reader, second = await asyncio.open_connection(*split_address(address))
        assert await reader.read() == b""
        assert server.connections_refused == 1
        first.close()
        second.close()
        await until(lambda: not server._connections)
        assert (await get(address, "/healthz"))[0] == 200


async def test_stop_ends_connections_and_leaves_no_task() -> None:
    async with serving() as (server, address):
        reader, writer = await asyncio.open_connection(*split_address(address))
        await until(lambda: len(server._connections) == 1)
        await server.stop()
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""
        writer.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_occupied_address_is_named() -> None:
    async with serving() as (_, address):
        with pytest.raises(HttpBindError, match=address) as caught:
            await HttpServer().start(address)
        assert caught.value.address == address


async def test_ipv6_works() -> None:
    server = HttpServer()
    server.add_routes({"/echo": {"GET": echo}})
    address = await server.start("[::1]:0")
    try:
        assert address.startswith("[::1]:")
        assert (await get(address, "/echo"))[0] == 200
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("every", "reached"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "[::1]"),
        ("[::]", "127.0.0.1"),
        ("[::]", "[::1]"),
    ],
)
async def test_every_address_of_the_machine_is_reached(every: str, reached: str) -> None:
    """A kubelet probes the address of the pod, which may be of either family."""
    server = HttpServer()
    server.add_routes({"/echo": {"GET": echo}})
    address = await server.start(f"{every}:0")
    try:
        assert (await get(address.replace(every, reached), "/echo"))[0] == 200
    finally:
        await server.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - waits for any condition
            await asyncio.sleep(0)
