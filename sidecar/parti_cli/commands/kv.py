"""`parti kv`: the replicated key-value store from the command line."""

from __future__ import annotations

import base64
import sys
from typing import Any

import click

from parti_cli import output
from parti_cli.errors import CliError
from parti_cli.options import Settings, app_options
from parti_proto import kv_pb2

__all__ = ["kv"]

_STDIN = "-"


@click.group()
def kv() -> None:
    """Read and change the replicated key-value store.

    Reads are linearizable. KEY and VALUE are text; VALUE `-` is standard input, as it is. Every
    change has a revision. JSON shows what is not UTF-8 as key_base64 and value_base64.
    """


@kv.command()
@click.argument("key")
@click.option("--stale", is_flag=True, help="What this sidecar knows, at once.")
@app_options
def get(settings: Settings, key: str, *, stale: bool) -> None:
    """Print the value of a key, as it is; fails if there is none.

    JSON: {key, value, revision, created}.
    """
    with settings.app() as app:
        request = kv_pb2.KvGetRequest(key=key.encode(), stale=stale)
        reply: kv_pb2.KvGetReply = app.call(app.kv.Get, request)
    if not reply.found:
        raise CliError(f"there is no key {key}")
    if settings.as_json:
        revisions = {"revision": reply.revision, "created": reply.created}
        output.document(_text("key", key.encode()) | _text("value", reply.value) | revisions)
        return
    sys.stdout.buffer.write(reply.value)
    if sys.stdout.isatty():
        click.echo()
    sys.stdout.flush()


@kv.command()
@click.argument("key")
@click.argument("value")
@app_options
def put(settings: Settings, key: str, value: str) -> None:
    """Set a key.

    JSON: {revision}.
    """
    with settings.app() as app:
        request = kv_pb2.KvPutRequest(key=key.encode(), value=_value(value))
        reply: kv_pb2.KvWriteReply = app.call(app.kv.Put, request)
    _print_revision(settings, reply)


@kv.command()
@click.argument("key")
@click.option("--expect", type=click.IntRange(min=1), help="Only at this revision.")
@app_options
def delete(settings: Settings, key: str, expect: int | None) -> None:
    """Delete a key; fails if there is none.

    JSON: {revision}.
    """
    with settings.app() as app:
        request = kv_pb2.KvDeleteRequest(key=key.encode(), expect=expect)
        reply: kv_pb2.KvWriteReply = app.call(app.kv.Delete, request)
    if reply.compare_failed:
        raise _not_as_expected(key, reply.revision)
    if not reply.changed:
        raise CliError(f"there is no key {key}")
    _print_revision(settings, reply)


@kv.command()
@click.argument("key")
@click.argument("value")
@click.option(
    "--expect",
    type=click.IntRange(min=0),
    required=True,
    help="The revision of the key now; 0: it does not exist.",
)
@app_options
def cas(settings: Settings, key: str, value: str, expect: int) -> None:
    """Compare and set: set a key only if it is at a revision; fails if it is not.

    JSON: {revision}.
    """
    with settings.app() as app:
        request = kv_pb2.KvCompareAndSetRequest(
            key=key.encode(), value=_value(value), expect=expect
        )
        reply: kv_pb2.KvWriteReply = app.call(app.kv.CompareAndSet, request)
    if reply.compare_failed:
        raise _not_as_expected(key, reply.revision)
    _print_revision(settings, reply)


@kv.command(name="list")
@click.argument("prefix", default="")
@click.option("--keys-only", is_flag=True, help="Without the values.")
@app_options
def list_keys(settings: Settings, prefix: str, *, keys_only: bool) -> None:
    """List the keys below a prefix, in order.

    JSON, one line each: {key, value, revision, created}.
    """
    rows: list[tuple[str, int, str]] = []
    with settings.app() as app:
        request = kv_pb2.KvRangeRequest(prefix=prefix.encode(), keys_only=keys_only)
        more = True
        while more:
            page: kv_pb2.KvRangeReply = app.call(app.kv.Range, request)
            for item in page.items:
                if settings.as_json:
                    output.line(_item_json(item, keys_only=keys_only))
                else:
                    rows.append((_shown(item.key), item.revision, _shown(item.value)))
            more = page.more
            if more:
                request.after = page.items[-1].key
    if not settings.as_json:
        columns = ("key", "revision") if keys_only else ("key", "revision", "value")
        output.table(columns, [row[: len(columns)] for row in rows])


@kv.command()
@click.argument("prefix", default="")
@click.option("--after", type=click.IntRange(min=0), help="Begin after this revision, not now.")
@app_options
def watch(settings: Settings, prefix: str, after: int | None) -> None:
    """Print every change below a prefix until Ctrl-C.

    JSON, one line each: {revision, key, value} or {revision, key, deleted: true}.
    """
    with settings.app() as app:
        request = kv_pb2.KvWatchRequest(prefix=prefix.encode(), after=after)
        for reply in app.stream(app.kv.Watch, request):
            for change in reply.changes:
                _print_change(settings, change)
            sys.stdout.flush()
    raise CliError("the sidecar ended the watch", hint="Is it stopping? Watch another one.")


def _print_change(settings: Settings, change: kv_pb2.KvChange) -> None:
    if settings.as_json:
        what = {"deleted": True} if change.deleted else _text("value", change.value)
        output.line({"revision": change.revision} | _text("key", change.key) | what)
    elif change.deleted:
        click.echo(f"{change.revision}: {_shown(change.key)} deleted")
    else:
        click.echo(f"{change.revision}: {_shown(change.key)} = {_shown(change.value)}")


def _print_revision(settings: Settings, reply: kv_pb2.KvWriteReply) -> None:
    if settings.as_json:
        output.document({"revision": reply.revision})
    else:
        click.echo(f"revision {reply.revision}")


def _not_as_expected(key: str, revision: int) -> CliError:
    if revision:
        return CliError(f"{key} is at revision {revision}")
    return CliError(f"there is no key {key}")


def _item_json(item: kv_pb2.KvItem, *, keys_only: bool) -> dict[str, Any]:
    value = {} if keys_only else _text("value", item.value)
    return _text("key", item.key) | value | {"revision": item.revision, "created": item.created}


def _value(given: str) -> bytes:
    return sys.stdin.buffer.read() if given == _STDIN else given.encode()


def _text(name: str, data: bytes) -> dict[str, Any]:
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _shown(data: bytes) -> str:
    """For people: what would move the cursor or is no text is escaped."""
    text = data.decode(errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
