"""Settings: sources and their order, the words of every refusal, the round trip."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import combinations
from pathlib import Path

import pytest

from parti_shard.limits import LeaseTimes, RouterLimits
from parti_sidecar.config import SETTINGS, Mode, Role, SidecarConfig, shown
from parti_sidecar.config_rules import RULES, contradictions
from parti_sidecar.config_sources import (
    CONFIG_PATH_VARIABLE,
    ConfigError,
    dump_config,
    load_config,
    parse_arguments,
)

DATA = ("--data-dir", "data")
PAIRS = list(
    combinations(
        ("app_address", "peer_address", "peer_stream_address", "admin_address", "http_address"), 2
    )
)


def load(*argv: str, **environ: str) -> SidecarConfig:
    return load_config(parse_arguments(argv, "0"), environ)


def problems(*argv: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(*argv, **environ)
    return list(caught.value.problems)


def as_flags(name: str) -> tuple[str, str]:
    return f"--{name.replace('_', '-')}", "127.0.0.1:9"


def test_only_the_data_directory_must_be_given() -> None:
    config = load(*DATA)
    assert config == SidecarConfig(data_dir=Path("data"))
    assert config.name
    assert config.advertise_address == config.peer_address == "127.0.0.1:5101"
    assert config.peer_stream_address == "127.0.0.1:0"
    assert problems() == ["data_dir is required (--data-dir or PARTI_DATA_DIR)"]


def test_defaults_are_those_of_the_pure_code() -> None:
    config = load(*DATA)
    assert config.lease_ttl_ms == LeaseTimes().ttl_ms
    assert config.router_limits == RouterLimits()


def test_limits_follow_the_settings() -> None:
    config = load(*DATA, "--lease-ttl-ms", "3000", "--handover-ms", "700")
    assert config.lease_ttl_ms == 3000
    assert config.router_limits.handover_ms == 700
    assert (config.heartbeat_ticks, config.election_ticks) == (2, 10)


def test_flags_win_over_variables_and_they_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "parti.yaml"
    path.write_text("data_dir: file\nname: file\nzone: file\ncapacity: 7\n")
    config = load("--config", str(path), "--name", "flag", PARTI_NAME="env", PARTI_ZONE="env")
    assert (config.name, config.zone, config.capacity) == ("flag", "env", 7)
    assert config.data_dir == Path("file")


def test_the_file_may_be_named_by_a_variable_and_the_flag_wins(tmp_path: Path) -> None:
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text("data_dir: one\n")
    other.write_text("data_dir: other\n")
    assert load(**{CONFIG_PATH_VARIABLE: str(one)}).data_dir == Path("one")
    config = load("--config", str(other), **{CONFIG_PATH_VARIABLE: str(one)})
    assert config.data_dir == Path("other")


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load(*DATA, PARTI_LEASE_TTL_MS="").lease_ttl_ms == 2000


def test_variables_of_others_are_left_alone() -> None:
    assert load(*DATA, PARTI_SERVICE_HOST="10.0.0.1", PARTI_ADDRESS="x").data_dir == Path("data")


def test_each_setting_has_three_names_and_help() -> None:
    flags = {each.flag for each in SETTINGS}
    variables = {each.env_name for each in SETTINGS}
    assert len(flags) == len(variables) == len(SETTINGS) == len(fields(SidecarConfig))
    assert all(each.help_text for each in SETTINGS)


def test_what_is_printed_loads_to_the_same(tmp_path: Path) -> None:
    config = load(
        *DATA,
        *("--join", "parti-0.parti:5101,[::1]:7", "--role", "router", "--name", "7"),
        *("--mode", "available", "--available-for-ms", "5000", "--peer-address", "[::1]:0"),
    )
    path = tmp_path / "printed.yaml"
    path.write_text(dump_config(config))
    assert load("--config", str(path)) == config
    assert config.join == ("parti-0.parti:5101", "[::1]:7")
    assert (config.role, config.mode, config.name) == (Role.ROUTER, Mode.AVAILABLE, "7")


def test_every_setting_is_printed() -> None:
    assert list(shown(load(*DATA))) == [row.name for row in SETTINGS]


@pytest.mark.parametrize(("flag", "expected"), [("--bootstrap", True), ("--no-bootstrap", False)])
def test_a_yes_or_no_has_two_flags(flag: str, expected: bool) -> None:  # noqa: FBT001
    assert load(*DATA, flag, PARTI_BOOTSTRAP=str(not expected)).bootstrap is expected


UNREADABLE = [
    (("--lease-ttl-ms", "soon"), "lease_ttl_ms must be a whole number, not 'soon'"),
    (("--lease-ttl-ms", "5"), "lease_ttl_ms must be 200 to 3600000, not 5"),
    (("--capacity", "1001"), "capacity must be 1 to 1000, not 1001"),
    (("--partitions", "0"), "partitions must be 1 to 65536, not 0"),
    (("--role", "king"), "role must be worker or router, not 'king'"),
    (("--name", "a b"), "name must be printable without spaces, not 'a b'"),
    (("--name", "a" * 254), "name must have at most 253 bytes, not 254"),
    (("--zone", "ü" * 127), "zone must have at most 253 bytes, not 254"),
    (
        ("--advertise-address", "a" * 253 + ":51"),
        "advertise_address must have at most 255 bytes, not 256",
    ),
    (("--data-dir", "x\0y"), "data_dir must be a path, not 'x\\x00y'"),
    (
        ("--peer-address", "127.0.0.1:65536"),
        "peer_address must have a port of 0 to 65535, not '127.0.0.1:65536'",
    ),
    (
        ("--peer-address", "127.0.0.1:-1"),
        "peer_address must have a port of 0 to 65535, not '127.0.0.1:-1'",
    ),
    (
        ("--peer-address", "localhost:5101"),
        "peer_address must be a literal IP address and a port, not 'localhost:5101'",
    ),
    (
        ("--peer-address", "::1:5101"),
        "peer_address must be host:port with IPv6 in brackets, not '::1:5101'",
    ),
    (("--peer-address", "5101"), "peer_address must be host:port, not '5101'"),
    (("--join", "a:1,b"), "join must be host:port, not 'b'"),
    (("--join", "http://a:1"), "join must be host:port, not 'http://a:1'"),
    (
        ("--app-socket", "/" + "s" * 99),
        "app_socket must have at most 99 bytes (limit of unix sockets), not 100",
    ),
]


@pytest.mark.parametrize(("flags", "words"), UNREADABLE, ids=lambda each: str(each)[:40])
def test_a_bad_value_is_refused_in_words(flags: tuple[str, str], words: str) -> None:
    assert problems(*DATA, *flags) == [f"{words} (from {flags[0]})"]


def test_the_longest_socket_path_is_taken() -> None:
    assert load(*DATA, "--app-socket", "s" * 99).app_socket == "s" * 99


CONTRADICTIONS: list[tuple[dict[str, object], str]] = [
    (
        {"peer_address": "127.0.0.1:5100"},
        "app_address (127.0.0.1:5100) and peer_address (127.0.0.1:5100) would take the same port",
    ),
    (
        {"admin_address": "0.0.0.0:5103"},
        "admin_address (0.0.0.0:5103) and http_address (127.0.0.1:5103) would take the same port",
    ),
    (
        {"app_address": "10.0.0.1:5100"},
        "app_address (10.0.0.1:5100) must be a loopback address: it has no access check",
    ),
    (
        {"peer_address": "[::]:5101"},
        (
            "advertise_address ([::]:5101) must not be a wildcard: other members cannot dial it; "
            "set it beside a wildcard peer_address"
        ),
    ),
    (
        {"bootstrap": True, "join": ("a:1",)},
        "bootstrap and join exclude each other: a cluster is begun or joined",
    ),
    (
        {"bootstrap": True, "handover_ms": 15_000},
        (
            "handover_ms (15000) must be below the move deadline of a new cluster (15000): "
            "the leader would end the session of a member whose worker is slow"
        ),
    ),
    ({"available_for_ms": 1}, "available_for_ms (1) needs mode available"),
    ({"mode": Mode.AVAILABLE}, "mode available needs available_for_ms above 0"),
    ({"voters_max": 4}, "voters_max (4) must be odd"),
    (
        {"tick_ms": 100, "lease_ttl_ms": 399},
        "tick_ms (100) must fit 4 times into lease_ttl_ms (399)",
    ),
    ({"heartbeat_ms": 120}, "heartbeat_ms (120) must be a multiple of tick_ms (50)"),
    ({"election_ms": 520}, "election_ms (520) must be a multiple of tick_ms (50)"),
    ({"election_ms": 250}, "heartbeat_ms (100) must fit 3 times into election_ms (250)"),
    ({"handover_ms": 20_000}, "handover_ms (20000) must be below drain_ms (20000)"),
    ({"drain_ms": 30_000}, "drain_ms (30000) must be below termination_grace_ms (30000)"),
    (
        {"parked_messages_max": 4_095},
        "parked_messages_per_partition (4096) must not exceed parked_messages_max (4095)",
    ),
    (
        {"parked_bytes_max": (16 << 20) - 1},
        "parked_bytes_per_partition (16777216) must not exceed parked_bytes_max (16777215)",
    ),
    (
        {"parked_bytes_per_partition": (1 << 20) - 1},
        "payload_bytes_max (1048576) must not exceed parked_bytes_per_partition (1048575)",
    ),
]


@pytest.mark.parametrize(("changes", "words"), CONTRADICTIONS, ids=lambda each: str(each)[:40])
def test_a_contradiction_is_named(changes: dict[str, object], words: str) -> None:
    base = SidecarConfig(data_dir=Path("data"))
    assert contradictions(base) == []
    if "peer_address" in changes:
        changes = {"advertise_address": "", **changes}
    expected = [words]
    assert contradictions(replace(base, **changes)) == expected  # type: ignore[arg-type]


def test_every_rule_has_a_case() -> None:
    broken: set[int] = set()
    clashes: list[dict[str, object]] = [dict.fromkeys(pair, "127.0.0.1:9") for pair in PAIRS]
    for changes in [*clashes, *(changes for changes, _ in CONTRADICTIONS)]:
        given = {"data_dir": Path("data"), **changes}
        config = SidecarConfig(**given)  # type: ignore[arg-type]
        broken |= {i for i, rule in enumerate(RULES) if rule.check(config) is not None}
    assert broken == set(range(len(RULES)))


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_no_two_apis_share_a_port(first: str, second: str) -> None:
    assert problems(*DATA, *as_flags(first), *as_flags(second)) == [
        f"{first} (127.0.0.1:9) and {second} (127.0.0.1:9) would take the same port"
    ]


def test_the_move_deadline_of_a_running_cluster_is_not_guessed() -> None:
    assert load(*DATA, "--handover-ms", "15000").handover_ms == 15_000


def test_ports_chosen_by_the_system_do_not_collide() -> None:
    names = ("app_address", "peer_address", "peer_stream_address", "admin_address", "http_address")
    config = replace(
        SidecarConfig(data_dir=Path("data")),
        **dict.fromkeys(names, "127.0.0.1:0"),  # type: ignore[arg-type]
    )
    assert contradictions(config) == []


def test_streams_listen_on_the_host_of_the_peer_api() -> None:
    assert load(*DATA, "--peer-address", "[::1]:7").peer_stream_address == "[::1]:0"
    fixed = load(*DATA, "--peer-address", "[::1]:7", "--peer-stream-address", "127.0.0.2:5104")
    assert fixed.peer_stream_address == "127.0.0.2:5104"


def test_the_chosen_port_is_advertised() -> None:
    config = load(*DATA, "--peer-address", "[::1]:0")
    assert config.advertised("[::1]:4711") == "[::1]:4711"
    named = load(*DATA, "--peer-address", "0.0.0.0:0", "--advertise-address", "pod-0.parti:0")
    assert named.advertised("0.0.0.0:4711") == "pod-0.parti:4711"
    fixed = load(*DATA, "--advertise-address", "pod-0.parti:9")
    assert fixed.advertised("127.0.0.1:5101") == "pod-0.parti:9"


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "parti.yaml"
    path.write_text("lease_tll_ms: 5\nzone: [a]\n")
    found = problems("--config", str(path), "--voters-max", "2", PARTI_CAPACITY="many")
    assert found == [
        f"lease_tll_ms is not a setting; is lease_ttl_ms meant? (from {path})",
        "data_dir is required (--data-dir or PARTI_DATA_DIR)",
        f"zone must be text, not ['a'] (from {path})",
        "capacity must be a whole number, not 'many' (from PARTI_CAPACITY)",
        "voters_max (2) must be odd",
    ]


def test_rules_are_silent_about_values_nobody_could_read() -> None:
    slow = ("--tick-ms", "1000", "--heartbeat-ms", "1000", "--election-ms", "3000")
    assert problems(*DATA, "--lease-ttl-ms", "x", *slow) == [
        "lease_ttl_ms must be a whole number, not 'x' (from --lease-ttl-ms)"
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "is not YAML"),
        ("- a\n", "must hold settings as `name: value`"),
        ("\xff\xfe", "is not a setting"),
    ],
)
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "parti.yaml"
    path.write_text(f"{content}: 1" if content == "\xff\xfe" else content)
    assert any(words in each for each in problems(*DATA, "--config", str(path)))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "parti.yaml"
    path.write_bytes(b"name: \xff\n")
    assert "is not YAML" in problems(*DATA, "--config", str(path))[0]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    assert problems(*DATA, "--config", str(path)) == [
        f"cannot read {path}: No such file or directory"
    ]


def test_an_empty_file_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "parti.yaml"
    path.write_text("# nothing\n")
    assert load(*DATA, "--config", str(path)).data_dir == Path("data")


def test_unknown_and_shortened_flags_are_refused() -> None:
    assert problems(*DATA, "--lease", "5") == ["unrecognized arguments: --lease 5"]


def test_help_shows_settings_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse_arguments(["--help"], "0")
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert all(row.flag in text for row in SETTINGS)
    assert "Exit codes" in text


def test_yaml_knows_a_list_of_addresses(tmp_path: Path) -> None:
    path = tmp_path / "parti.yaml"
    path.write_text("data_dir: d\njoin: [a:1, 'b:2']\nbootstrap: no\n")
    assert load("--config", str(path)).join == ("a:1", "b:2")
