"""Commands that use the app API of a sidecar, as an application does."""

from __future__ import annotations

import base64
import sys
from typing import Any

import click

from parti_cli import output
from parti_cli.commands.show import partition_json, phase_name
from parti_cli.errors import CliError, UsageError
from parti_cli.members import named
from parti_cli.options import Settings, app_options
from parti_proto import app_pb2

__all__ = ["locate", "send", "watch"]

_STDIN = "-"


@click.command()
@click.option("--key", help="Route by the hash of this text.")
@click.option("--partition", type=click.IntRange(min=0), help="Route to this partition.")
@click.option("--idempotent", is_flag=True, help="May run more than once: sent again when unsure.")
@click.argument("messages", nargs=-1, required=True, metavar="MESSAGE...")
@app_options
def send(
    settings: Settings,
    key: str | None,
    partition: int | None,
    messages: tuple[str, ...],
    *,
    idempotent: bool,
) -> None:
    """Send messages, one after the other, and print the replies.

    MESSAGE `-` sends standard input as one message. Stops at the first that fails.
    JSON, one line each: {partition, epoch, payload} with the payload as text, or payload_base64
    instead if it is not UTF-8.
    """
    target = _target(key, partition)
    with settings.app() as app:
        for position, message in enumerate(messages):
            payload = sys.stdin.buffer.read() if message == _STDIN else message.encode()
            request = app_pb2.SendRequest(payload=payload, idempotent=idempotent, **target)
            try:
                reply = app.call(app.stub.Send, request)
            except CliError as error:
                if position:
                    output.note(f"{position} of {len(messages)} messages were sent before")
                raise error from None
            _print_reply(settings, reply)


def _print_reply(settings: Settings, reply: app_pb2.SendReply) -> None:
    try:
        text = {"payload": reply.payload.decode()}
    except UnicodeDecodeError:
        text = {"payload_base64": base64.b64encode(reply.payload).decode()}
    if settings.as_json:
        output.line({"partition": reply.partition, "epoch": reply.epoch, **text})
    else:
        click.echo(f"partition {reply.partition}, epoch {reply.epoch}: {next(iter(text.values()))}")


@click.command()
@click.option("--key", help="Where messages of this key go.")
@click.option("--partition", type=click.IntRange(min=0))
@app_options
def locate(settings: Settings, key: str | None, partition: int | None) -> None:
    """Show where a key or partition lives now, as this sidecar knows.

    JSON: {partition, owner, owner_name, epoch, phase, target, table_index}.
    """
    with settings.app() as app:
        request = app_pb2.LocateRequest(**_target(key, partition))
        reply: app_pb2.LocateReply = app.call(app.stub.Locate, request)
    state = reply.partition
    if settings.as_json:
        names = {state.owner: reply.owner_name}
        output.document(partition_json(state, names) | {"table_index": reply.table_index})
    else:
        owner = reply.owner_name or named(state.owner, {})
        click.echo(
            f"partition {state.partition}: {owner} (epoch {state.epoch}, {phase_name(state.phase)})"
        )


@click.command()
@app_options
def watch(settings: Settings) -> None:
    """Print every change of ownership until Ctrl-C; first the number of partitions of each owner.

    JSON, one line an event: {table_index, whole, partitions, changed: [{partition, owner,
    owner_name, epoch, phase, target}]}; the first event is whole, then only what changed.
    """
    with settings.app() as app:
        for event in app.stream(app.stub.WatchTable, app_pb2.WatchTableRequest()):
            _print_event(settings, event)
    raise CliError("the sidecar ended the watch", hint="Is it stopping? Watch another one.")


def _print_event(settings: Settings, event: app_pb2.TableEvent) -> None:
    names = event.member_names
    if settings.as_json:
        output.line(
            {
                "table_index": event.table_index,
                "whole": event.whole,
                "partitions": event.partitions,
                "changed": [partition_json(item, names) for item in event.changed],
            }
        )
    elif event.whole:
        _print_owners(event)
    else:
        for item in event.changed:
            click.echo(f"index {event.table_index}: {_change_text(item, event)}")
    sys.stdout.flush()


def _print_owners(event: app_pb2.TableEvent) -> None:
    counts: dict[str, int] = {}
    for item in event.changed:
        owner = named(item.owner, event.member_names) if item.owner else "without an owner"
        counts[owner] = counts.get(owner, 0) + 1
    owners = ", ".join(f"{owner} {count}" for owner, count in sorted(counts.items()))
    click.echo(f"index {event.table_index}: {event.partitions} partitions: {owners}")


def _change_text(item: app_pb2.PartitionState, event: app_pb2.TableEvent) -> str:
    owner = named(item.owner, event.member_names)
    if item.phase == app_pb2.PHASE_OWNED:
        return f"partition {item.partition} is owned by {owner} (epoch {item.epoch})"
    if item.phase == app_pb2.PHASE_REVOKING:
        target = f" to {named(item.target, event.member_names)}" if item.target else ""
        return f"partition {item.partition} leaves {owner}{target}"
    return f"partition {item.partition} has no owner"


def _target(key: str | None, partition: int | None) -> dict[str, Any]:
    if (key is None) == (partition is None):
        raise UsageError("give either --key or --partition")
    if key is not None:
        return {"key": key.encode()}
    return {"partition": partition}
