"""A small HTTP/1.1 server for the sidecar's own pages: h11 reads, this module only moves bytes.

Why not a web framework: every pod pays its memory. aiohttp costs 11 MB of the 72 MB an idle
sidecar may have, h11 1 MB. h11 is the strict parser under httpcore and uvicorn; nothing here
interprets bytes of a request.

Invariants:
- every wait has a deadline (request, handler, answer) and every size a limit; each limit has its
  own status (408, 413, 431, 503, 504) and closes the connection where its state is unknown;
- an exception of a handler is our bug: it is logged with its traceback, the caller gets a fixed
  text, the server goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import h11

from parti_sidecar.config_kinds import join_address, split_address
from parti_sidecar.listening import listening_socket
from parti_sidecar.logs import event

CONNECTIONS_MAX = 64
HEAD_BYTES_MAX = 16 << 10
BODY_BYTES_MAX = 1 << 20
REQUEST_TIMEOUT_S = 10.0  # also how long a connection may stay idle
HANDLER_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 10.0
_READ_BYTES = 64 << 10
_OTHER_ROUTE = "other"  # unknown paths share one counter: a scanner must not make metrics

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What a handler gets: all of it, the body read to its end."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes = b""
    peer: str = ""  # the host that asks


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What a handler gives."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]
# path -> method -> handler; HEAD is answered by the handler of GET. A path that ends with a slash,
# but for "/" itself, stands for everything below it.
Routes = Mapping[str, Mapping[str, Handler]]


class HttpBindError(Exception):
    """The HTTP address cannot be listened on."""

    def __init__(self, address: str, error: OSError) -> None:
        super().__init__(f"cannot listen on {address}: {error.strerror or error}")
        self.address = address


class _RefusedError(Exception):
    """The request gets this status and the connection ends."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class HttpServer:
    """Serves its routes from `start` to `stop`; one task per connection, bounded in number."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()  # by route and status
        self.connections_refused = 0
        self._routes: dict[str, Mapping[str, Handler]] = {}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def add_routes(self, routes: Routes) -> None:
        self._routes.update(routes)

    async def start(self, address: str) -> str:
        """Listen; gives the address with the port that was chosen where 0 was asked for."""
        host, port = split_address(address)
        try:
            listening = listening_socket(host, port)
            self._server = await asyncio.start_server(self._accept, sock=listening)
        except OSError as error:
            raise HttpBindError(address, error) from error
        return join_address(host, self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= CONNECTIONS_MAX:
            self.connections_refused += 1
            writer.close()
            return
        connection = _Connection(reader, writer)
        task = asyncio.create_task(self._serve(connection), name="http connection")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: _Connection) -> None:
        try:
            while await self._exchange(connection):
                pass
        except (OSError, TimeoutError):
            connection.abort()  # the caller has gone, or does not take the answer
        finally:
            connection.close()

    async def _exchange(self, connection: _Connection) -> bool:
        """One request and its answer; whether another may follow."""
        route = _OTHER_ROUTE
        try:
            request = await connection.read_request()
            if request is None:
                return False
            route = self._route_of(request.path)
            response = await self._answer(request, route)
        except _RefusedError as refused:
            response = _plain(refused.status)
            connection.last_one()
        self.answers[route, response.status] += 1
        return await connection.write_response(response)

    def _route_of(self, path: str) -> str:
        """The route that a path belongs to."""
        if path in self._routes:
            return path
        folders = (route for route in self._routes if route.endswith("/") and route != "/")
        return next((route for route in folders if path.startswith(route)), _OTHER_ROUTE)

    async def _answer(self, request: HttpRequest, route: str) -> HttpResponse:
        methods = self._routes.get(route)
        if methods is None:
            return _plain(HTTPStatus.NOT_FOUND)
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allow = ("allow", ", ".join(sorted(methods)))
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED, allow)
        try:
            async with asyncio.timeout(HANDLER_TIMEOUT_S):
                return await handler(request)
        except TimeoutError:
            return _plain(HTTPStatus.GATEWAY_TIMEOUT)
        except Exception as error:  # noqa: BLE001 - told to the log, kept from the caller
            event(_log, "http handler failed", level=logging.ERROR, error=error, path=request.path)
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)


class _Connection:
    """The bytes of one connection, by h11's state machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._peer = str((writer.get_extra_info("peername") or ("",))[0])
        self._last = False
        self._is_head = False

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        """End it without waiting for bytes that nobody takes."""
        self._writer.transport.abort()

    def last_one(self) -> None:
        """What follows on this connection cannot be understood: end it after the answer."""
        self._last = True

    async def read_request(self) -> HttpRequest | None:
        """The next request; None if the caller has left or was silent."""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                head = await self._next_event()
                if not isinstance(head, h11.Request):
                    return None
                self._is_head = head.method == b"HEAD"
                return _request(head, await self._read_body(), self._peer)
        except TimeoutError:
            if self._http.their_state is h11.IDLE and not self._http.trailing_data[0]:
                return None
            raise _RefusedError(HTTPStatus.REQUEST_TIMEOUT) from None
        except h11.RemoteProtocolError as error:
            raise _RefusedError(HTTPStatus(error.error_status_hint)) from None

    async def write_response(self, response: HttpResponse) -> bool:
        """Write the answer; whether another request may follow."""
        headers = [
            ("content-type", response.content_type),
            ("content-length", str(len(response.body))),
            ("cache-control", "no-store"),
            *response.headers,
        ]
        if self._last:
            headers.append(("connection", "close"))
        head = h11.Response(status_code=response.status, headers=headers)
        self._send(head)
        if not self._is_head:
            self._send(h11.Data(data=response.body))
        self._send(h11.EndOfMessage())
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._writer.drain()
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _read_body(self) -> bytes:
        body = bytearray()
        while not isinstance(part := await self._next_event(), h11.EndOfMessage):
            if not isinstance(part, h11.Data):
                raise _RefusedError(HTTPStatus.BAD_REQUEST)
            body += part.data
            if len(body) > BODY_BYTES_MAX:
                raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return bytes(body)

    async def _next_event(self) -> object:
        while (received := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._reader.read(_READ_BYTES))
        return received

    def _send(self, part: h11.Event) -> None:
        data = self._http.send(part)
        if data:
            self._writer.write(data)


def _request(head: h11.Request, body: bytes, peer: str) -> HttpRequest:
    path, _, query = head.target.decode("latin-1").partition("?")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return HttpRequest(head.method.decode("latin-1"), path, query, headers, body, peer)


def _plain(status: HTTPStatus, *headers: tuple[str, str]) -> HttpResponse:
    return HttpResponse(status, f"{status} {status.phrase}\n".encode(), headers=headers)
