"""What the settings must fulfil together: every contradiction is named, not only the first.

A rule looks at a whole configuration and gives the words of what is wrong, or nothing. It names
the settings it reads, so that it stays silent about values that were not understood at all.
Nothing is clamped or corrected here: whoever wrote a contradiction must choose.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import combinations

from parti_shard.limits import CoordinatorTimes
from parti_sidecar.config import Mode, SidecarConfig
from parti_sidecar.config_kinds import split_address

TICKS_PER_LEASE_MIN = 4  # renewals leave with ticks, and two may be lost
HEARTBEATS_PER_ELECTION_MIN = 3  # two heartbeats may be lost before an election

Check = Callable[[SidecarConfig], str | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that must hold; `check` gives what is wrong."""

    settings: frozenset[str]
    check: Check


def contradictions(config: SidecarConfig, unreadable: Collection[str] = ()) -> list[str]:
    """Everything in `config` that cannot be, leaving out what rests on unreadable settings."""
    found = [rule.check(config) for rule in RULES if rule.settings.isdisjoint(unreadable)]
    return [words for words in found if words is not None]


def _below(small: str, large: str) -> Rule:
    def check(config: SidecarConfig) -> str | None:
        low, high = getattr(config, small), getattr(config, large)
        return None if low < high else f"{small} ({low}) must be below {large} ({high})"

    return Rule(frozenset({small, large}), check)


def _at_most(small: str, large: str) -> Rule:
    def check(config: SidecarConfig) -> str | None:
        low, high = getattr(config, small), getattr(config, large)
        return None if low <= high else f"{small} ({low}) must not exceed {large} ({high})"

    return Rule(frozenset({small, large}), check)


def _fits(times: int, small: str, large: str) -> Rule:
    def check(config: SidecarConfig) -> str | None:
        low, high = getattr(config, small), getattr(config, large)
        if low * times <= high:
            return None
        return f"{small} ({low}) must fit {times} times into {large} ({high})"

    return Rule(frozenset({small, large}), check)


def _multiple_of_tick(name: str) -> Rule:
    def check(config: SidecarConfig) -> str | None:
        value = getattr(config, name)
        if value % config.tick_ms == 0:
            return None
        return f"{name} ({value}) must be a multiple of tick_ms ({config.tick_ms})"

    return Rule(frozenset({name, "tick_ms"}), check)


def _distinct(first: str, second: str) -> Rule:
    def check(config: SidecarConfig) -> str | None:
        one, other = getattr(config, first), getattr(config, second)
        if not _overlap(one, other):
            return None
        return f"{first} ({one}) and {second} ({other}) would take the same port"

    return Rule(frozenset({first, second}), check)


def _overlap(one: str, other: str) -> bool:
    (host, port), (other_host, other_port) = split_address(one), split_address(other)
    if port == 0 or port != other_port:
        return False
    return host == other_host or _is_wildcard(host) or _is_wildcard(other_host)


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:  # a name
        return False


def _app_is_local(config: SidecarConfig) -> str | None:
    host, _ = split_address(config.app_address)
    if ipaddress.ip_address(host).is_loopback:
        return None
    return f"app_address ({config.app_address}) must be a loopback address: it has no access check"


def _advertised_is_reachable(config: SidecarConfig) -> str | None:
    if not _is_wildcard(split_address(config.advertise_address)[0]):
        return None
    return (
        f"advertise_address ({config.advertise_address}) must not be a wildcard: "
        "other members cannot dial it; set it beside a wildcard peer_address"
    )


def _bootstrap_or_join(config: SidecarConfig) -> str | None:
    if config.bootstrap and config.join:
        return "bootstrap and join exclude each other: a cluster is begun or joined"
    return None


def _handover_ends_before_the_move(config: SidecarConfig) -> str | None:
    # Only of a new cluster the deadline is known here; later it is a policy that people set.
    limit_ms = CoordinatorTimes().move_deadline_ms
    if not config.bootstrap or config.handover_ms < limit_ms:
        return None
    return (
        f"handover_ms ({config.handover_ms}) must be below the move deadline of a new cluster "
        f"({limit_ms}): the leader would end the session of a member whose worker is slow"
    )


def _overtime_has_mode(config: SidecarConfig) -> str | None:
    if config.mode is Mode.STRICT and config.available_for_ms:
        return f"available_for_ms ({config.available_for_ms}) needs mode available"
    if config.mode is Mode.AVAILABLE and not config.available_for_ms:
        return "mode available needs available_for_ms above 0"
    return None


def _voters_are_odd(config: SidecarConfig) -> str | None:
    if config.voters_max % 2:
        return None
    return f"voters_max ({config.voters_max}) must be odd"


RULES: tuple[Rule, ...] = (
    *(
        _distinct(first, second)
        for first, second in combinations(
            (
                "app_address",
                "peer_address",
                "peer_stream_address",
                "admin_address",
                "http_address",
            ),
            2,
        )
    ),
    Rule(frozenset({"app_address"}), _app_is_local),
    Rule(frozenset({"advertise_address", "peer_address"}), _advertised_is_reachable),
    Rule(frozenset({"bootstrap", "join"}), _bootstrap_or_join),
    Rule(frozenset({"bootstrap", "handover_ms"}), _handover_ends_before_the_move),
    Rule(frozenset({"mode", "available_for_ms"}), _overtime_has_mode),
    Rule(frozenset({"voters_max"}), _voters_are_odd),
    _fits(TICKS_PER_LEASE_MIN, "tick_ms", "lease_ttl_ms"),
    _multiple_of_tick("heartbeat_ms"),
    _multiple_of_tick("election_ms"),
    _fits(HEARTBEATS_PER_ELECTION_MIN, "heartbeat_ms", "election_ms"),
    _below("handover_ms", "drain_ms"),
    _below("drain_ms", "termination_grace_ms"),
    _at_most("parked_messages_per_partition", "parked_messages_max"),
    _at_most("parked_bytes_per_partition", "parked_bytes_max"),
    _at_most("payload_bytes_max", "parked_bytes_per_partition"),
)
