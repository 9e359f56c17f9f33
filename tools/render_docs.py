"""Write the generated parts of `docs/*.md` from the tables that the program itself uses.

A page holds markers, `<!-- generated: NAME -->` and `<!-- end -->`; what stands between them is
replaced by the section of that name, everything else is written by people. So a page explains in
its own words, and its tables cannot differ from the code.

`python tools/render_docs.py` rewrites the pages; `--check` compares and exits 1 on a difference.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import click
import yaml

from parti_cli.main import root as cli_root
from parti_cli.plugin import plugin
from parti_operator.metrics import Metrics
from parti_shard.commands import (
    Cause,
    CloseSession,
    Command,
    ExpireSession,
    Grant,
    NewMember,
    OpenSession,
    Release,
    Revoke,
)
from parti_shard.ids import Epoch, LogIndex, MemberId, PartitionId, SessionId
from parti_shard.policy import Policy
from parti_shard.table import Phase, Table
from parti_sidecar.config import SETTINGS, Setting
from parti_sidecar.config_kinds import Number
from parti_sidecar.metrics_catalog import CATALOG
from parti_sidecar.status import CODES

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
ERRORS_PROTO = ROOT / "proto" / "parti" / "v1" / "errors.proto"
CRD = ROOT / "manifests" / "crd.yaml"
HELP_COLUMNS = 100
_SECTION = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_ENUM = re.compile(r"enum Reason \{(.*?)\n\}", re.DOTALL)
_VALUE = re.compile(r"REASON_(\w+) = (\d+);(?: *// (.*))?")


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    head = list(columns)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n" for row in lines
    )


# --- settings ---------------------------------------------------------------------------------


def settings() -> str:
    """The sidecar's settings."""
    rows = (
        (f"`{row.name}`", _values(row), _default(row), _sentence(row.help_text)) for row in SETTINGS
    )
    return table(("Setting", "Value", "Default", "Meaning"), rows)


def _values(row: Setting) -> str:
    kind = row.kind
    if not isinstance(kind, Number):
        return kind.label or "true or false"
    unit = "" if kind.label == "N" else f" {kind.label}"
    return f"{kind.minimum} to {kind.maximum}{unit}"


def _default(row: Setting) -> str:
    if row.default is MISSING:
        return "required"
    shown = row.kind.show(row.default)
    if shown in ("", [], ()):
        return ""
    return f"`{str(shown).lower() if isinstance(shown, bool) else shown}`"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


# --- metrics ----------------------------------------------------------------------------------


def metrics() -> str:
    """Every metric of the sidecar's own catalog."""
    return _metrics((one.name, str(one.kind), one.labels, one.help_text) for one in CATALOG)


def operator_metrics() -> str:
    """Every metric that the operator makes."""
    catalog = Metrics().catalog
    return _metrics((one.name, one.kind, one.labels, f"{one.text}.") for one in catalog)


def _metrics(rows: Iterable[tuple[str, str, Iterable[str], str]]) -> str:
    columns = ("Metric", "Kind", "Labels", "Meaning")
    return table(
        columns,
        (
            (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), text)
            for name, kind, labels, text in rows
        ),
    )


# --- commands of the CLI ----------------------------------------------------------------------


def commands() -> str:
    """The help of every command, as `--help` prints it on a wide terminal."""
    return "\n".join(_help(names, context) for names, context in _contexts("parti", cli_root))


def plugin_commands() -> str:
    """The help of `kubectl parti`, and of the commands that `parti` has not."""
    found = _contexts("kubectl parti", plugin)
    shared = cli_root.list_commands(click.Context(cli_root))
    own = (each for each in found if each[0][-1] not in shared)
    return "\n".join(_help(names, context) for names, context in own)


def _contexts(name: str, group: click.Group) -> Iterator[tuple[list[str], click.Context]]:
    root = click.Context(
        group,
        info_name=name,
        terminal_width=HELP_COLUMNS,
        max_content_width=HELP_COLUMNS,
        help_option_names=["-h", "--help"],
    )
    yield from _below([name], root)


def _below(names: list[str], context: click.Context) -> Iterator[tuple[list[str], click.Context]]:
    yield names, context
    command = context.command
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None, name
        inner = click.Context(found, info_name=name, parent=context)
        yield from _below([*names, name], inner)


def _help(names: list[str], context: click.Context) -> str:
    text = context.command.get_help(context)
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return f"## {' '.join(names)}\n\n```text\n{lines}\n```\n"


# --- reasons of refusals ----------------------------------------------------------------------


def errors() -> str:
    """The reasons of `errors.proto` under the sentences that group them there."""
    found = _ENUM.search(ERRORS_PROTO.read_text(encoding="utf-8"))
    assert found is not None, "errors.proto has no enum Reason"
    groups: list[tuple[str, list[tuple[str, ...]]]] = []
    for line in filter(None, (line.strip() for line in found.group(1).splitlines())):
        value = _VALUE.match(line)
        if value is None:
            assert line.startswith("// "), line
            groups.append((line.removeprefix("// "), []))
        elif groups:  # before the first group there is only OK
            groups[-1][1].append(_reason(*value.groups(), group=groups[-1][0]))
    columns = ("Reason", "Number", "gRPC status", "Meaning")
    return "\n".join(f"{heading}\n\n{table(columns, rows)}" for heading, rows in groups)


def _reason(name: str, number: str, comment: str | None, *, group: str) -> tuple[str, ...]:
    code = {reason.name: code.name for reason, code in CODES.items()}[name]
    return f"`{name}`", number, f"`{code}`", _sentence(comment or group)


# --- the life of a partition ------------------------------------------------------------------

_OWNER, _OTHER = MemberId(1), MemberId(2)
_PARTITION = PartitionId(0)
_EPOCH = Epoch(1)


def _table_in(phase: Phase) -> Table:
    """A table whose one partition stands in `phase`, at epoch 1, with two members in session."""
    made = Table.initial("docs", 1, Policy(), NewMember(_OWNER, "owner", ""))
    made.member_added(LogIndex(1), NewMember(_OTHER, "other", ""))
    way: list[Command] = [
        OpenSession(_OWNER, SessionId(0), 1, "owner", ""),
        OpenSession(_OTHER, SessionId(0), 2, "other", ""),
        Grant(_PARTITION, Epoch(0), _OWNER, SessionId(1), Cause.ORPHAN),
    ]
    if phase is Phase.FREE:
        way.append(Release(_PARTITION, _EPOCH, SessionId(1)))
    if phase is Phase.REVOKING:
        way.append(Revoke(_PARTITION, _EPOCH, _OTHER, Cause.REBALANCE))
    for command in way:
        assert made.apply(LogIndex(2), 0, command).ok, command
    assert made.phase[_PARTITION] is phase
    return made


_COMMANDS: tuple[Command, ...] = (
    Grant(_PARTITION, _EPOCH, _OTHER, SessionId(2), Cause.REBALANCE),
    Revoke(_PARTITION, _EPOCH, _OTHER, Cause.REBALANCE),
    Release(_PARTITION, _EPOCH, SessionId(1)),
    CloseSession(SessionId(1)),
    ExpireSession(SessionId(1)),
)


def _transitions() -> Iterator[tuple[Phase, str, str]]:
    """What the real table does with each command in each phase."""
    for phase in Phase:
        for command in _COMMANDS:
            made = _table_in(phase)
            outcome = made.apply(LogIndex(3), 0, command)
            after = made.phase[_PARTITION].name
            if made.epoch[_PARTITION] != _EPOCH:
                after += ", epoch + 1"
            unchanged = not outcome.ok or made.history == _table_in(phase).history
            result = f"refused: {outcome.rejection.name}" if not outcome.ok else after
            yield phase, type(command).__name__, "" if outcome.ok and unchanged else result


def partition_life() -> str:
    """The phases of a partition, as a diagram and as a table."""
    found = list(_transitions())
    edges: dict[tuple[str, str], list[str]] = {}
    for phase, name, result in found:
        if result and not result.startswith("refused"):
            after, _, rises = result.partition(", ")
            edges.setdefault((phase.name, after), []).append(f"{name} ({rises})" if rises else name)
    lines = ["    [*] --> FREE"]
    lines += [f"    {a} --> {b}: {', '.join(names)}" for (a, b), names in edges.items()]
    results = {(phase, name): result or "no effect" for phase, name, result in found}
    rows = (
        (f"`{name}`", *(results[phase, name] for phase in Phase))
        for name in (type(command).__name__ for command in _COMMANDS)
    )
    grid = table(("Command", *(f"in {phase.name}" for phase in Phase)), rows)
    return "```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + f"\n```\n\n{grid}"


# --- the resource of Kubernetes ---------------------------------------------------------------


def crd_columns() -> str:
    """The columns of `kubectl get`."""
    rows = (
        (
            f"{one['name']} (`-o wide`)" if one.get("priority") else one["name"],
            f"`{one['jsonPath']}`",
            one.get("description", ""),
        )
        for one in _crd_version()["additionalPrinterColumns"]
    )
    return table(("Column", "Where", "Meaning"), rows)


def crd_fields(name: str) -> str:
    """All fields below `spec` or `status`."""
    rows = (
        (f"`{path}`", _crd_type(field), _crd_default(field), field.get("description", ""))
        for path, field in _crd_below("", _crd_schema()["properties"][name])
        # Init containers have the fields of containers.
        if not path.startswith("template.spec.initContainers[]")
    )
    return table(("Field", "Value", "Default", "Meaning"), rows)


def crd_rules() -> str:
    """The messages of rules that types and bounds cannot express."""
    schema = _crd_schema()
    nodes = [schema, *(node for _, node in _crd_below("", schema))]
    rules = (rule for node in nodes for rule in node.get("x-kubernetes-validations", ()))
    # Containers and init containers have the same rules.
    return "".join(f"- {text}\n" for text in dict.fromkeys(rule["message"] for rule in rules))


def _crd_version() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    version: dict[str, Any] = document["spec"]["versions"][0]
    return version


def _crd_schema() -> dict[str, Any]:
    schema: dict[str, Any] = _crd_version()["schema"]["openAPIV3Schema"]
    return schema


def _crd_below(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    item = schema.get("items", {})
    for name, field in {**schema.get("properties", {}), **item.get("properties", {})}.items():
        inner = f"{path}.{name}" if path else name
        yield inner, field
        yield from _crd_below(f"{inner}[]" if "items" in field else inner, field)


def _crd_type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "minimum" in field and "maximum" in field:
        return f"{field['minimum']} to {field['maximum']}"
    if "items" in field:
        return f"list of {field['items'].get('type', 'value')}s"
    if "additionalProperties" in field:
        return "names and values"
    return str(field.get("type", "any"))


def _crd_default(field: dict[str, Any]) -> str:
    default = field.get("default", {})
    if default == {}:
        return ""  # an object whose fields have defaults of their own
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


# --- pages ------------------------------------------------------------------------------------

SECTIONS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "metrics": metrics,
    "operator-metrics": operator_metrics,
    "commands": commands,
    "plugin-commands": plugin_commands,
    "crd-columns": crd_columns,
    "crd-rules": crd_rules,
    "crd-spec": lambda: crd_fields("spec"),
    "crd-status": lambda: crd_fields("status"),
    "errors": errors,
    "partition-life": partition_life,
}


def rendered(page: str) -> str:
    """A page with its sections made anew."""
    return _SECTION.sub(
        lambda found: f"{found.group(1)}\n{SECTIONS[found.group(2)]()}\n{found.group(3)}", page
    )


def section_names(page: str) -> list[str]:
    """The sections that a page has."""
    return [found.group(2) for found in _SECTION.finditer(page)]


def stale(folder: Path) -> list[Path]:
    """The pages that differ from what they would be, made anew."""
    return [
        path
        for path in sorted(folder.glob("*.md"))
        if (page := path.read_text(encoding="utf-8")) != rendered(page)
    ]


def main() -> None:
    """Run the tool."""
    pages = stale(DOCS)
    if "--check" not in sys.argv[1:]:
        for path in pages:
            path.write_text(rendered(path.read_text(encoding="utf-8")), encoding="utf-8")
    elif pages:
        names = ", ".join(path.name for path in pages)
        print(f"out of date: {names}; run: python tools/render_docs.py")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
