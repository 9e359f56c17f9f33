"""Where settings come from: a YAML file, over it `PARTI_*` variables, over them flags.

Reading collects problems instead of stopping at the first one: who starts a sidecar sees in one
go everything that is wrong, each in a line that names the setting and its source.

An unknown key of the file or an unknown flag is an error (most likely a typing mistake). Unknown
`PARTI_*` variables are not: Kubernetes sets such names for every Service called `parti`, and the
SDK and the CLI have their own. An empty variable counts as not set.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import yaml

from parti_sidecar.config import SETTINGS, Setting, SidecarConfig, shown
from parti_sidecar.config_kinds import BadValueError, Flag
from parti_sidecar.config_rules import contradictions

CONFIG_PATH_VARIABLE = "PARTI_CONFIG"
_BY_NAME = {row.name: row for row in SETTINGS}
_PLACEHOLDER_DIRECTORY = Path()


class ConfigError(Exception):
    """The settings cannot be used; `problems` has one line for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line, taken apart."""

    flags: dict[str, object]  # by setting
    config_path: str
    print_config: bool
    force_new_quorum: str = ""  # the cluster of which to be the only voter; for one start


@dataclass(frozen=True, slots=True)
class _Given:
    """A raw value and where it stands."""

    raw: object
    source: str


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing usage and leaving: errors are one line each."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError([message])


def parse_arguments(argv: Sequence[str], version: str) -> Arguments:
    """Take the command line apart; `--help` and `--version` print and leave."""
    parser = _Parser(
        prog="parti-sidecar",
        usage="%(prog)s --data-dir DIR [--config FILE] [SETTING ...]",
        description="One member of a parti cluster: owns partitions and routes messages.",
        epilog="Each setting can also stand in the YAML file (lease_ttl_ms: 2000) or in an "
        "environment variable (PARTI_LEASE_TTL_MS=2000); flags win over variables, variables over "
        "the file. Exit codes: 0 ended as asked, 1 failed, 2 cannot start with these settings, "
        "3 the stored state is damaged, 4 start it again as the only voter, 128+N left at once on "
        "a second signal N.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"parti-sidecar {version}")
    parser.add_argument("--config", metavar="FILE", default="", help="settings as YAML")
    parser.add_argument(
        "--print-config", action="store_true", help="print the effective settings and leave"
    )
    parser.add_argument(
        "--force-new-quorum",
        metavar="CLUSTER_ID",
        default="",
        help="for one start, when the quorum is lost for good: go on as the only voter",
    )
    for row in SETTINGS:
        _add_flag(parser, row)
    given = vars(parser.parse_args(argv))
    return Arguments(
        config_path=given.pop("config"),
        print_config=given.pop("print_config"),
        force_new_quorum=given.pop("force_new_quorum"),
        flags=given,
    )


def load_config(arguments: Arguments, environ: Mapping[str, str]) -> SidecarConfig:
    """The effective settings; raises `ConfigError` with everything that is wrong."""
    problems: list[str] = []
    path = arguments.config_path or environ.get(CONFIG_PATH_VARIABLE, "")
    given = _from_file(path, problems) if path else {}
    given |= _from_environment(environ)
    given |= {name: _Given(raw, _BY_NAME[name].flag) for name, raw in arguments.flags.items()}
    values, unreadable = _parse(given, problems)
    config = SidecarConfig(**{"data_dir": _PLACEHOLDER_DIRECTORY, **values})
    problems += contradictions(config, unreadable)
    if problems:
        raise ConfigError(problems)
    return config


def dump_config(config: SidecarConfig) -> str:
    """The effective settings as a YAML file that `--config` takes."""
    return yaml.safe_dump(shown(config), sort_keys=False, default_flow_style=False)


def _add_flag(parser: argparse.ArgumentParser, row: Setting) -> None:
    options: dict[str, Any] = {
        "dest": row.name,
        "default": argparse.SUPPRESS,
        "help": _help(row).replace("%", "%%"),
    }
    if isinstance(row.kind, Flag):
        options["action"] = argparse.BooleanOptionalAction
    else:
        options["metavar"] = row.kind.label
    parser.add_argument(row.flag, **options)


def _help(row: Setting) -> str:
    if row.default in (MISSING, "", ()):
        return row.help_text
    return f"{row.help_text} [{row.kind.show(row.default)}]"


def _from_file(path: str, problems: list[str]) -> dict[str, _Given]:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"cannot read {path}: {error.strerror}")
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problems.append(f"{path} is not YAML: {' '.join(str(error).split())}")
        return {}
    if content is None:  # nothing but comments
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path} must hold settings as `name: value`")
        return {}
    problems += [_unknown(key, path) for key in content if key not in _BY_NAME]
    return {key: _Given(raw, path) for key, raw in content.items() if key in _BY_NAME}


def _unknown(key: object, path: str) -> str:
    near = get_close_matches(str(key), _BY_NAME, n=1)
    hint = f"; is {near[0]} meant?" if near else ""
    return f"{key} is not a setting{hint} (from {path})"


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    return {
        row.name: _Given(environ[row.env_name], row.env_name)
        for row in SETTINGS
        if environ.get(row.env_name)
    }


def _parse(given: Mapping[str, _Given], problems: list[str]) -> tuple[dict[str, Any], set[str]]:
    values: dict[str, Any] = {}
    unreadable: set[str] = set()
    for row in SETTINGS:
        item = given.get(row.name)
        if item is None:
            if row.default is MISSING:
                problems.append(f"{row.name} is required ({row.flag} or {row.env_name})")
            continue
        try:
            values[row.name] = row.kind.parse(item.raw)
        except BadValueError as error:
            problems.append(f"{row.name} {error} (from {item.source})")
            unreadable.add(row.name)
    return values, unreadable
