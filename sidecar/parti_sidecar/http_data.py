"""The store and messages over HTTP, for curl and scripts on the same machine.

- `GET|PUT|DELETE /v1/kv/KEY`: the value is the body as it is; `Parti-Revision` and `ETag` tell the
  key's revision, `If-Match` and `If-None-Match: *` make a write conditional.
- `POST /v1/send?key=|partition=`: the body goes to the owner, its reply comes back as the body.
- `GET /set?key=&value=`, `/get?key=`, `/send?partition=&message=`: for those who know other stores.

The port may be open to the network for the probes of Kubernetes. These paths answer only to peers
on loopback, and not to pages of other sites in a browser there: nobody else may use the store.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

from parti_kv.commands import ANY_REVISION, Op
from parti_kv.limits import KEY_BYTES_MAX
from parti_kv.values import Record, Status
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_shard.ids import BY_KEY
from parti_sidecar.http import Handler, HttpRequest, HttpResponse, Routes
from parti_sidecar.kv_calls import KvCalls, Write, Written
from parti_sidecar.unary_sends import Message, Outcome, UnarySends

KV_PATH = "/v1/kv/"
_TIMEOUT_MS = 10_000  # without `timeout_ms` in the query
_TIMEOUT_MS_MAX = 25_000  # the server gives up a handler a little later
_ABSENT_REVISION = 0

_STATUSES = {
    Reason.PAYLOAD_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Reason.CONFLICT: HTTPStatus.CONFLICT,
    Reason.OVERLOADED: HTTPStatus.TOO_MANY_REQUESTS,
    Reason.PARKING_FULL: HTTPStatus.TOO_MANY_REQUESTS,
    Reason.STORE_FULL: HTTPStatus.INSUFFICIENT_STORAGE,
    Reason.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    Reason.CONNECTION_LOST: HTTPStatus.BAD_GATEWAY,
    Reason.OWNER_LOST: HTTPStatus.BAD_GATEWAY,
    Reason.WORKER_LOST: HTTPStatus.BAD_GATEWAY,
    Reason.HANDLER_FAILED: HTTPStatus.BAD_GATEWAY,
    Reason.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_BINARY = "application/octet-stream"

Query = dict[str, str]
Answer = Callable[[HttpRequest, Query], Awaitable[HttpResponse]]


def data_routes(calls: KvCalls, sends: UnarySends) -> Routes:
    """All paths that read or change something."""
    store, messages = _Store(calls), _Messages(sends)
    return {
        KV_PATH: {
            "GET": _guarded(store.get),
            "PUT": _guarded(store.put),
            "DELETE": _guarded(store.delete),
        },
        "/v1/send": {"POST": _guarded(messages.post)},
        "/set": {"GET": _guarded(store.seed_set)},
        "/get": {"GET": _guarded(store.seed_get)},
        "/send": {"GET": _guarded(messages.seed_send)},
    }


class _Store:
    """The paths of the key-value store."""

    def __init__(self, calls: KvCalls) -> None:
        self._calls = calls

    async def get(self, request: HttpRequest, query: Query) -> HttpResponse:
        return _value(await self._read(_path_key(request), query))

    async def put(self, request: HttpRequest, query: Query) -> HttpResponse:
        write = Write(Op.PUT, _path_key(request), request.body, _condition(request))
        return _written(await self._calls.write(write, _timeout_ms(query)))

    async def delete(self, request: HttpRequest, query: Query) -> HttpResponse:
        write = Write(Op.DELETE, _path_key(request), expect=_condition(request))
        return _written(await self._calls.write(write, _timeout_ms(query)))

    async def seed_set(self, _request: HttpRequest, query: Query) -> HttpResponse:
        write = Write(Op.PUT, _query_key(query), _required(query, "value").encode())
        return _written(await self._calls.write(write, _timeout_ms(query)))

    async def seed_get(self, _request: HttpRequest, query: Query) -> HttpResponse:
        return _value(await self._read(_query_key(query), query))

    async def _read(self, key: bytes, query: Query) -> Record | None:
        stale = _flag(query, "stale") or _flag(query, "relaxed")
        store = await self._calls.read(_timeout_ms(query), stale=stale)
        return store.get(key)


class _Messages:
    """The paths of messages to partitions."""

    def __init__(self, sends: UnarySends) -> None:
        self._sends = sends

    async def post(self, request: HttpRequest, query: Query) -> HttpResponse:
        outcome = await self._send(query, request.body)
        epoch = (("parti-epoch", str(outcome.epoch)),)
        return HttpResponse(HTTPStatus.OK, outcome.payload, _BINARY, epoch)

    async def seed_send(self, _request: HttpRequest, query: Query) -> HttpResponse:
        if "partition" not in query:
            raise _bad("missing partition")
        outcome = await self._send(query, query.get("message", "").encode())
        text = outcome.payload.decode(errors="backslashreplace")
        answer = {"partition": int(query["partition"]), "epoch": outcome.epoch, "message": text}
        return _json(HTTPStatus.OK, answer)

    async def _send(self, query: Query, payload: bytes) -> Outcome:
        if ("key" in query) == ("partition" in query):
            raise _bad("give either key or partition")
        key = query.get("key", "")
        partition = BY_KEY if "key" in query else _number(query["partition"], "partition")
        message = Message(
            partition=partition,
            key=key.encode(),
            payload=payload,
            timeout_ms=_timeout_ms(query),
            idempotent=_flag(query, "idempotent"),
        )
        return await self._sends.send(message)


def _guarded(answer: Answer) -> Handler:
    """Let only the own machine in, and say what failed."""

    async def handler(request: HttpRequest) -> HttpResponse:
        stranger = _stranger(request)
        if stranger:
            return _json(HTTPStatus.FORBIDDEN, {"message": stranger})
        try:
            return await answer(request, _query(request))
        except PartiError as error:
            return _failed(error.failure)

    return handler


def _stranger(request: HttpRequest) -> str:
    """Why this peer may not use the data paths; empty if it may."""
    if not _is_loopback(request.peer):
        return "only for this machine: ask through the loopback address"
    name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    if name != "localhost" and not _is_loopback(name):
        return "the name in the Host header is not of this machine"
    site = request.headers.get("sec-fetch-site", "none")
    if "origin" in request.headers or site not in ("none", "same-origin"):
        return "not for pages of other sites"
    return ""


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


# --- requests --------------------------------------------------------------------------------


def _path_key(request: HttpRequest) -> bytes:
    return _checked(unquote_to_bytes(request.path.removeprefix(KV_PATH)))


def _query_key(query: Query) -> bytes:
    return _checked(_required(query, "key").encode())


def _checked(key: bytes) -> bytes:
    if not 0 < len(key) <= KEY_BYTES_MAX:
        raise _bad(f"a key of {len(key)} bytes, it may have 1 to {KEY_BYTES_MAX}")
    return key


def _query(request: HttpRequest) -> Query:
    found = parse_qs(request.query, keep_blank_values=True)
    return {name: values[-1] for name, values in found.items()}


def _required(query: Query, name: str) -> str:
    if name not in query:
        raise _bad(f"missing {name}")
    return query[name]


def _flag(query: Query, name: str) -> bool:
    return query.get(name, "false") in ("true", "1", "")


def _timeout_ms(query: Query) -> int:
    given = query.get("timeout_ms")
    timeout_ms = _TIMEOUT_MS if given is None else _number(given, "timeout_ms")
    return min(max(timeout_ms, 1), _TIMEOUT_MS_MAX)


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise _bad(f"{name} must be a number")
    return int(text)


def _condition(request: HttpRequest) -> int:
    """The revision that a write expects the key to be at."""
    if request.headers.get("if-none-match", "") == "*":
        return _ABSENT_REVISION
    given = request.headers.get("if-match")
    if given is None:
        return ANY_REVISION
    return _number(given.strip().strip('"'), "If-Match")


# --- answers ---------------------------------------------------------------------------------


def _value(record: Record | None) -> HttpResponse:
    if record is None:
        return _json(HTTPStatus.NOT_FOUND, {"message": "there is no such key"})
    headers = (*_revision(record.revision), ("parti-created", str(record.created)))
    return HttpResponse(HTTPStatus.OK, record.value, _BINARY, headers)


def _written(written: Written) -> HttpResponse:
    status = {
        Status.OK: HTTPStatus.OK,
        Status.ABSENT: HTTPStatus.NOT_FOUND,
        Status.COMPARE_FAILED: HTTPStatus.PRECONDITION_FAILED,
    }[written.status]
    body = {"ok": written.status is Status.OK, "revision": written.revision}
    return _json(status, body, _revision(written.revision))


def _revision(revision: int) -> tuple[tuple[str, str], ...]:
    return ("parti-revision", str(revision)), ("etag", f'"{revision}"')


def _json(
    status: HTTPStatus, body: object, headers: tuple[tuple[str, str], ...] = ()
) -> HttpResponse:
    return HttpResponse(status, (json.dumps(body) + "\n").encode(), "application/json", headers)


def _failed(failure: Failure) -> HttpResponse:
    default = HTTPStatus.SERVICE_UNAVAILABLE
    if failure.reason <= Reason.CONFLICT:
        default = HTTPStatus.BAD_REQUEST
    body = {
        "reason": failure.reason.name,
        "executed": failure.executed.name,
        "message": failure.message or failure.reason.name,
    }
    return _json(_STATUSES.get(failure.reason, default), body)


def _bad(text: str) -> PartiError:
    return PartiError(Failure(Reason.INVALID_ARGUMENT, Executed.NO, text))
