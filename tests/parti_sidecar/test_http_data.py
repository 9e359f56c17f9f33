"""The store and messages over HTTP, on a running driver and real sockets."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from parti_kv.limits import VALUE_BYTES_MAX
from parti_kv.store import KvStore
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_shard.ids import BY_KEY
from parti_sidecar.config_kinds import split_address
from parti_sidecar.http import HttpRequest, HttpServer
from parti_sidecar.http_data import _failed, _stranger, data_routes
from parti_sidecar.kv_calls import KvCalls
from parti_sidecar.unary_sends import Message, Outcome, UnarySends
from tests.parti_sidecar.driver_world import drivers

Reply = tuple[int, dict[str, str], bytes]


class Sends(UnarySends):
    """Answers messages instead of routing them."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    async def send(self, message: Message) -> Outcome:
        self.sent.append(message)
        if message.payload == b"fail":
            raise PartiError(Failure(Reason.NO_WORKER, Executed.NO, "nobody there"))
        return Outcome(7, b"reply to " + message.payload)


@dataclass
class Bench:
    address: str
    store: KvStore
    sends: Sends
    server: HttpServer
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await asyncio.to_thread(self._ask, method, path, body, named)

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        connection = http.client.HTTPConnection(*split_address(self.address), timeout=10)
        try:
            connection.request(method, path, body or None, headers)
            reply = connection.getresponse()
            told = {name.lower(): value for name, value in reply.getheaders()}
            return reply.status, told, reply.read()
        finally:
            connection.close()


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with drivers(monkeypatch) as world:
        run = await world.found()
        server, sends = HttpServer(), Sends()
        server.add_routes(data_routes(KvCalls(run.driver), sends))
        address = await server.start("127.0.0.1:0")
        try:
            yield Bench(address, run.member.store, sends, server)
        finally:
            await server.stop()


async def test_values_are_bodies_and_revisions_are_headers(bench: Bench) -> None:
    status, headers, body = await bench.ask("PUT", "/v1/kv/a", b"\0\xff")
    assert (status, headers["parti-revision"], headers["etag"]) == (200, "1", '"1"')
    assert json.loads(body) == {"ok": True, "revision": 1}
    status, headers, body = await bench.ask("GET", "/v1/kv/a")
    assert (status, body) == (200, b"\0\xff")
    assert (headers["parti-revision"], headers["parti-created"]) == ("1", "1")
    assert headers["content-type"] == "application/octet-stream"
    assert (await bench.ask("GET", "/v1/kv/a?stale=true"))[2] == b"\0\xff"
    assert (await bench.ask("DELETE", "/v1/kv/a"))[0] == 200
    assert (await bench.ask("DELETE", "/v1/kv/a"))[0] == 404
    assert (await bench.ask("GET", "/v1/kv/a"))[0] == 404


async def test_keys_may_hold_any_bytes(bench: Bench) -> None:
    await bench.ask("PUT", "/v1/kv/a%2Fb/c%00%FF?x=1", b"v")
    assert bench.store.get(b"a/b/c\0\xff") is not None
    assert (await bench.ask("GET", "/v1/kv/a/b/c%00%ff"))[2] == b"v"


async def test_conditional_writes(bench: Bench) -> None:
    assert (await bench.ask("PUT", "/v1/kv/a", b"1", if_none_match="*"))[0] == 200
    status, headers, body = await bench.ask("PUT", "/v1/kv/a", b"1", if_none_match="*")
    assert (status, headers["parti-revision"]) == (412, "1")
    assert json.loads(body)["ok"] is False
    assert (await bench.ask("PUT", "/v1/kv/a", b"2", if_match='"1"'))[0] == 200
    assert (await bench.ask("DELETE", "/v1/kv/a", if_match="1"))[0] == 412
    assert (await bench.ask("DELETE", "/v1/kv/a", if_match="2"))[0] == 200
    assert (await bench.ask("PUT", "/v1/kv/a", b"2", if_match="what"))[0] == 400


async def test_the_paths_of_other_stores(bench: Bench) -> None:
    status, _, body = await bench.ask("GET", "/set?key=k%20y&value=v%20w")
    assert (status, json.loads(body)) == (200, {"ok": True, "revision": 1})
    assert (await bench.ask("GET", "/get?key=k%20y"))[2] == b"v w"
    assert (await bench.ask("GET", "/get?key=k%20y&relaxed=true"))[2] == b"v w"
    assert (await bench.ask("GET", "/get?key=other"))[0] == 404
    for path in ("/set?key=k", "/set?value=v", "/get", "/set?key=&value=v"):
        assert (await bench.ask("GET", path))[0] == 400


async def test_messages(bench: Bench) -> None:
    status, headers, body = await bench.ask("POST", "/v1/send?key=k&idempotent=true", b"hello")
    assert (status, body, headers["parti-epoch"]) == (200, b"reply to hello", "7")
    await bench.ask("POST", "/v1/send?partition=3&timeout_ms=200", b"hello")
    status, _, body = await bench.ask("GET", "/send?partition=3&message=hello")
    assert json.loads(body) == {"partition": 3, "epoch": 7, "message": "reply to hello"}
    by_key, by_partition, seed = bench.sends.sent
    assert (by_key.partition, by_key.key, by_key.idempotent) == (BY_KEY, b"k", True)
    assert (by_partition.partition, by_partition.timeout_ms) == (3, 200)
    assert (seed.partition, seed.payload, seed.idempotent) == (3, b"hello", False)


@pytest.mark.parametrize(
    ("method", "path", "says"),
    [
        ("POST", "/v1/send", "either key or partition"),
        ("POST", "/v1/send?key=a&partition=1", "either key or partition"),
        ("POST", "/v1/send?partition=x", "partition must be a number"),
        ("POST", "/v1/send?key=a&timeout_ms=-1", "timeout_ms must be a number"),
        ("GET", "/send?message=x", "missing partition"),
        ("PUT", "/v1/kv/", "a key of 0 bytes"),
        ("PUT", "/v1/kv/" + "k" * 1025, "a key of 1025 bytes"),
    ],
)
async def test_bad_requests(bench: Bench, method: str, path: str, says: str) -> None:
    status, _, body = await bench.ask(method, path, b"x")
    assert status == 400
    assert says in json.loads(body)["message"]


async def test_failures_say_whether_it_ran(bench: Bench) -> None:
    status, _, body = await bench.ask("POST", "/v1/send?key=k", b"fail")
    assert status == 503
    assert json.loads(body) == {
        "reason": "NO_WORKER",
        "executed": "NO",
        "message": "nobody there",
    }


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.INVALID_ARGUMENT, 400),
        (Reason.BAD_PARTITION, 400),
        (Reason.PAYLOAD_TOO_LARGE, 413),
        (Reason.CONFLICT, 409),
        (Reason.NO_LEADER, 503),
        (Reason.OVERLOADED, 429),
        (Reason.STORE_FULL, 507),
        (Reason.DEADLINE_EXCEEDED, 504),
        (Reason.OWNER_LOST, 502),
        (Reason.INTERNAL, 500),
    ],
)
def test_every_reason_has_its_status(reason: Reason, status: int) -> None:
    assert _failed(Failure(reason)).status == status


async def test_the_largest_value_fits_and_a_larger_one_does_not(bench: Bench) -> None:
    largest = bytes(VALUE_BYTES_MAX)
    assert (await bench.ask("PUT", "/v1/kv/a", largest))[0] == 200
    assert (await bench.ask("GET", "/v1/kv/a"))[2] == largest
    assert (await bench.ask("PUT", "/v1/kv/a", largest + b"x"))[0] == 413


async def test_other_methods_are_refused_and_counted_by_route(bench: Bench) -> None:
    assert (await bench.ask("POST", "/v1/kv/a", b"x"))[0] == 405
    assert (await bench.ask("GET", "/v1/kv"))[0] == 404
    await bench.ask("GET", "/v1/kv/b")
    assert bench.server.answers["/v1/kv/", 404] == 1


# --- who may ask ------------------------------------------------------------------------------


def request_from(peer: str, host: str = "localhost:5103", **headers: str) -> HttpRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpRequest("GET", "/get", "", {"host": host, **named}, b"", peer)


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("127.0.0.1", "localhost:5103"),
        ("::1", "[::1]:5103"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
    ],
)
def test_this_machine_may_ask(peer: str, host: str) -> None:
    assert _stranger(request_from(peer, host)) == ""


@pytest.mark.parametrize("peer", ["10.0.0.7", "::ffff:10.0.0.7", "fe80::1", "", "nonsense"])
def test_nobody_else_may_ask(peer: str) -> None:
    assert "only for this machine" in _stranger(request_from(peer))


@pytest.mark.parametrize("host", ["a.b", "", "10.0.0.7:5103"])
def test_another_name_of_this_machine_is_refused(host: str) -> None:
    """A page may have its own name resolve to the loopback address."""
    assert "Host header" in _stranger(request_from("127.0.0.1", host))


def test_pages_of_other_sites_may_not_ask() -> None:
    for headers in ({"origin": "https://a"}, {"sec_fetch_site": "cross-site"}):
        assert "other sites" in _stranger(request_from("127.0.0.1", **headers))
    assert not _stranger(request_from("127.0.0.1", sec_fetch_site="none"))


async def test_strangers_get_403(bench: Bench) -> None:
    status, _, body = await bench.ask("GET", "/set?key=k&value=v", origin="https://a")
    assert status == 403
    assert "other sites" in json.loads(body)["message"]
    assert bench.store.revision == 0
