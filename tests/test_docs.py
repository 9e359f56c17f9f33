"""The pages tell the truth: tables are those of the code, commands exist, code and SQL run."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import sqlite3
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import click
import pytest

from parti.testing import FakeSidecar
from parti_cli.main import root as cli_root
from parti_operator.metrics import Metrics
from parti_proto import admin_pb2, app_pb2, errors_pb2
from parti_shard.limits import CoordinatorTimes, RouterLimits
from parti_shard.policy import Policy
from parti_sidecar.config import SETTINGS
from parti_sidecar.config_sources import ConfigError, parse_arguments
from parti_sidecar.metrics_catalog import CATALOG
from tools import render_docs

ROOT = render_docs.ROOT
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
    *sorted(render_docs.DOCS.glob("*.md")),
]
METRICS = {one.name for one in CATALOG} | {one.name for one in Metrics().catalog}
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_PLACEHOLDER = re.compile(r"\b[A-Z][A-Z-]+\b")


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of code in one language."""
    return [text for kind, text in _BLOCK.findall(page.read_text()) if kind == language]


def words(page: Path) -> set[str]:
    """What stands between backticks in the prose."""
    return set(_CODE.findall(_BLOCK.sub("", page.read_text())))


def commands(page: Path, program: str) -> list[list[str]]:
    """The command lines of a program that a page shows, without the program."""
    shown = [
        line.removeprefix("$ ")
        for block in blocks(page, "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    shown += [word for word in words(page) if word.startswith(f"{program} ")]
    split = [shlex.split(line) for line in shown]
    return [parts[1:] for parts in split if parts[0] == program]


def wrong_command(arguments: list[str]) -> str:
    """Why `parti` would not take this command line; nothing if it would."""
    context = click.Context(cli_root, info_name="parti")
    command: click.Command = cli_root
    # A placeholder stands for a number where a number is wanted: 1 serves as name, id and number.
    rest = [_PLACEHOLDER.sub("1", part) for part in arguments]
    while isinstance(command, click.Group):
        if not rest or rest[0].startswith("-"):
            return ""  # the program itself, as in `parti --addr`
        found = command.get_command(context, rest[0])
        if found is None:
            return f"no command {rest[0]}"
        command, rest = found, rest[1:]
        if isinstance(command, click.Group):
            continue
        try:
            context = command.make_context(command.name, rest, parent=context)
        except click.MissingParameter:
            return ""  # prose names a command without its arguments
        except click.UsageError as error:
            return error.format_message()
    if command.name == "run" and context.params["command"][0] == "parti":
        return wrong_command(list(context.params["command"][1:]))
    return ""


def test_generated_sections_are_up_to_date() -> None:
    stale = [path.name for path in render_docs.stale(render_docs.DOCS)]
    assert stale == [], "run: python tools/render_docs.py"


def test_every_section_stands_on_exactly_one_page() -> None:
    found = [name for page in PAGES for name in render_docs.section_names(page.read_text())]
    assert sorted(found) == sorted(render_docs.SECTIONS)


def test_the_drift_check_notices_a_change_inside_a_section_only(tmp_path: Path) -> None:
    for page in render_docs.DOCS.glob("*.md"):
        shutil.copy(page, tmp_path)
    metrics = tmp_path / "metrics.md"
    metrics.write_text(metrics.read_text().replace("Raft's term.", "A lie."))
    glossary = tmp_path / "glossary.md"
    glossary.write_text(glossary.read_text() + "More.\n")
    assert [path.name for path in render_docs.stale(tmp_path)] == ["metrics.md"]


def test_the_tool_compares_on_request_and_rewrites_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    before = "Words.\n<!-- generated: partition-life -->\nold\n<!-- end -->\n"
    page.write_text(before)
    monkeypatch.setattr(render_docs, "DOCS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["render_docs.py", "--check"])
    with pytest.raises(SystemExit) as ended:
        render_docs.main()
    assert ended.value.code == 1
    assert "page.md" in capsys.readouterr().out
    assert page.read_text() == before
    monkeypatch.setattr(sys, "argv", ["render_docs.py"])
    render_docs.main()
    assert page.read_text().startswith("Words.\n<!-- generated: partition-life -->\n\n```mermaid")
    monkeypatch.setattr(sys, "argv", ["render_docs.py", "--check"])
    render_docs.main()


def test_a_section_nobody_knows_is_refused() -> None:
    with pytest.raises(KeyError):
        render_docs.rendered("<!-- generated: weather -->\n<!-- end -->\n")


def test_tables_hold_what_the_code_holds() -> None:
    settings, metrics, errors = (
        render_docs.settings(),
        render_docs.metrics() + render_docs.operator_metrics(),
        render_docs.errors(),
    )
    assert all(f"| `{row.name}` |" in settings for row in SETTINGS)
    assert all(f"| `{name}` |" in metrics for name in METRICS)
    reasons = [name.removeprefix("REASON_") for name in errors_pb2.Reason.keys()]  # noqa: SIM118
    assert all(f"| `{name}` |" in errors for name in reasons if name != "OK")


def test_every_command_has_its_help_on_the_page() -> None:
    page = (render_docs.DOCS / "cli.md").read_text()
    for name in cli_root.list_commands(click.Context(cli_root)):
        assert f"\n## parti {name}\n" in page
    assert "\n## kubectl parti report\n" in page


def test_the_life_of_a_partition_is_the_one_that_guarantees_rest_on() -> None:
    page = render_docs.partition_life()
    assert "FREE --> OWNED: Grant (epoch + 1)" in page
    assert "OWNED --> REVOKING: Revoke\n" in page
    assert "FREE --> REVOKING" not in page
    rising = [line for line in page.splitlines() if "epoch + 1)" in line]
    assert all("Grant (epoch + 1)" in line for line in rising), "only grants raise an epoch"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_the_page_can_be_typed(page: Path) -> None:
    assert [
        f"{line}: {why}" for line in commands(page, "parti") if (why := wrong_command(line))
    ] == []


def test_commands_are_found_in_sessions_and_in_prose() -> None:
    assert ["dev", "kill", "m3"] in commands(ROOT / "README.md", "parti")
    operations = render_docs.DOCS / "operations.md"
    assert ["explain", "PARTITION"] in commands(operations, "parti")
    assert any("--bootstrap" in line for line in commands(operations, "parti-sidecar"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_of_the_sidecar_on_the_page_exist(page: Path) -> None:
    for line in commands(page, "parti-sidecar"):
        try:
            parse_arguments([part for part in line if part != "--version"], "0")
        except ConfigError as error:
            raise AssertionError(f"{page.name}: {line}") from error


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("members", ""),
        ("explain PARTITION", ""),
        ("dev run -- parti ping 3 -c 2", ""),
        ("dev run -- python app.py --any-flag", ""),
        ("explode 3", "no command explode"),
        ("members --colour", "No such option"),
        ("dev run -- parti explode", "no command explode"),
        ("dev resurrect m1", "no command resurrect"),
    ],
)
def test_wrong_commands_are_noticed(line: str, complaint: str) -> None:
    assert wrong_command(shlex.split(line)).startswith(complaint)
    assert bool(wrong_command(shlex.split(line))) == bool(complaint)


def test_metrics_named_on_pages_exist() -> None:
    known = METRICS
    packages = {path.name for path in (ROOT / "sidecar").iterdir()} | {"parti_proto"}
    named = {
        word for page in PAGES for word in words(page) if re.fullmatch(r"parti_[a-z_]+[a-z]", word)
    }
    assert named - known - packages == set()


def test_every_metric_that_asks_for_an_alarm_is_explained() -> None:
    explained = words(render_docs.DOCS / "operations.md")
    asking = {one.name for one in CATALOG if "Alarm" in one.help_text}
    assert asking
    assert asking - explained == set()


def test_settings_and_fields_named_on_pages_exist() -> None:
    known = {row.name for row in SETTINGS} | METRICS
    for values in (Policy, RouterLimits, CoordinatorTimes):
        known |= {field.name for field in fields(values)}
    for module in (app_pb2, admin_pb2, errors_pb2):
        for message in module.DESCRIPTOR.message_types_by_name.values():
            known |= {field.name for field in message.fields}
    known |= {"on_assigned", "on_revoked", "member_id", "xxh3_64", "parti_proto"}
    known |= {path.name for path in (ROOT / "sidecar").iterdir()}
    named = {
        word
        for page in PAGES
        for word in words(page)
        if re.fullmatch(r"[a-z]+(?:_[a-z0-9]+)+", word)
    }
    assert named - known == {"owner_lost", "worker_lost", "connection_lost"}  # values of a label


def test_python_on_the_pages_compiles() -> None:
    found = [(page, code) for page in PAGES for code in blocks(page, "python")]
    assert found
    for page, code in found:
        compile(code, page.name, "exec")


def test_the_newest_change_is_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == version


async def test_the_application_of_the_readme_runs(tmp_path: Path) -> None:
    worker, client = blocks(ROOT / "README.md", "python")
    (tmp_path / "worker.py").write_text(worker)
    (tmp_path / "client.py").write_text(client)
    async with FakeSidecar(partitions=2) as sidecar:
        serving = await _start(tmp_path / "worker.py", sidecar.address)
        try:
            await sidecar.wait_started(20)
            sent = await _output(await _start(tmp_path / "client.py", sidecar.address))
            serving.send_signal(signal.SIGTERM)
            said = await _output(serving)
        finally:
            if serving.returncode is None:
                serving.kill()
                await serving.wait()
    assert re.fullmatch(r"hello alice, from partition [01] under epoch 1\n", sent)
    assert said.count("is mine, epoch 1") == said.count("goes elsewhere") == 2


async def _start(program: Path, address: str) -> asyncio.subprocess.Process:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("sidecar", "proto"))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        env={**os.environ, "PARTI_ADDRESS": address, "PYTHONPATH": path},
        stdout=asyncio.subprocess.PIPE,
    )


async def _output(process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(20):
        data, _ = await process.communicate()
    return data.decode()


def test_the_sql_of_the_fencing_page_fences() -> None:
    create, fence, update, seen = blocks(render_docs.DOCS / "fencing.md", "sql")
    database = sqlite3.connect(":memory:", isolation_level=None)
    try:
        database.execute(create)
        changed = [
            database.execute(fence, {"partition": 7, "epoch": epoch}).rowcount
            for epoch in (3, 3, 5, 3, 4, 6)
        ]
        assert changed == [1, 1, 1, 0, 0, 1]
        database.execute("CREATE TABLE accounts (id, balance, epoch)")
        database.execute("INSERT INTO accounts VALUES (1, 0, 5)")
        rows = [
            database.execute(update, {"id": 1, "balance": 9, "epoch": epoch}).rowcount
            for epoch in (4, 5, 6, 5)
        ]
        assert rows == [0, 1, 1, 0]
        database.execute("CREATE TABLE seen (message_id PRIMARY KEY)")
        assert [database.execute(seen, {"message_id": "a"}).rowcount for _ in range(2)] == [1, 0]
    finally:
        database.close()
