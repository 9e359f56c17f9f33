"""Names keep within the limits of Kubernetes for the longest cluster name and ordinal."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from parti_operator import names

LONGEST = "a" * names.NAME_LENGTH_MAX
ORDINAL_MAX = 199
LABEL_LENGTH_MAX = 63
REVISION_DIGITS = 10


@pytest.mark.parametrize(
    "of",
    [
        names.stateful_set,
        names.headless_service,
        names.client_service,
        names.disruption_budget,
        names.config_map,
        names.network_policy,
        names.pod_monitor,
    ],
)
def test_names_of_children_are_labels(of: Callable[[str], str]) -> None:
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", of(LONGEST))
    assert len(of(LONGEST)) <= LABEL_LENGTH_MAX


def test_the_longest_name_leaves_room_for_revisions_and_ordinals() -> None:
    # Label controller-revision-hash of a pod, and its host name.
    assert len(f"{names.stateful_set(LONGEST)}-{'0' * REVISION_DIGITS}") == LABEL_LENGTH_MAX
    assert len(names.pod(LONGEST, ORDINAL_MAX)) <= LABEL_LENGTH_MAX


@pytest.mark.parametrize(
    ("pod", "ordinal"),
    [("orders-0", 0), ("my-orders-12", 12), ("orders", -1), ("orders-", -1), ("orders-x", -1)],
)
def test_ordinal_of_a_pod(pod: str, ordinal: int) -> None:
    assert names.ordinal(pod) == ordinal


def test_ordinals_survive_the_way_through_a_name() -> None:
    for ordinal in range(ORDINAL_MAX + 1):
        assert names.ordinal(names.pod("orders-3", ordinal)) == ordinal


def test_hosts_are_below_the_service_of_the_members() -> None:
    assert names.peers_host("orders", "shop") == "orders-peers.shop.svc"
    assert names.pod_host("orders", "shop", 2) == "orders-2.orders-peers.shop.svc"


def test_selector_as_text_and_as_labels_are_the_same() -> None:
    ((key, value),) = names.selector_labels("orders").items()
    assert names.selector("orders") == f"{key}={value}"


def test_port_names_fit_and_ports_are_apart() -> None:
    ports = (
        names.PEER_PORT_NAME,
        names.ADMIN_PORT_NAME,
        names.HTTP_PORT_NAME,
        names.PEER_STREAM_PORT_NAME,
    )
    assert len(set(ports)) == len(ports)
    assert all(len(name) <= 15 for name in ports)  # of a container's port
    assert sorted(names.SIDECAR_PORTS) == list(range(5100, 5105))


@pytest.mark.parametrize("word", [*names.EventReason, *names.ConditionType])
def test_reasons_and_conditions_are_camel_case(word: str) -> None:
    assert re.fullmatch(r"([A-Z][a-z]+)+", word)
