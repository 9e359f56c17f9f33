"""The rendered settings, read by the sidecar itself as it does in a pod."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from parti_operator import names
from parti_operator.children import config_map, grace_period_s, stateful_set
from parti_operator.spec import ClusterSpec
from parti_sidecar.config import Mode, SidecarConfig
from parti_sidecar.config_sources import load_config, parse_arguments
from tests.parti_operator import samples
from tests.parti_operator.defaults import cluster_spec


def started(cluster: ClusterSpec, pod: str, folder: Path) -> SidecarConfig:
    """The settings of the sidecar in a pod: its file and its environment."""
    file = folder / names.CONFIG_FILE
    file.write_text(config_map(cluster)["data"][names.CONFIG_FILE], encoding="utf-8")
    environ = environment(cluster, pod)
    assert environ["PARTI_CONFIG"] == f"/etc/parti/{names.CONFIG_FILE}"
    return load_config(parse_arguments([], "0"), {**environ, "PARTI_CONFIG": str(file)})


def environment(cluster: ClusterSpec, pod: str) -> dict[str, str]:
    """As the kubelet resolves it: fields of the pod, then references to earlier variables."""
    template = stateful_set(cluster, 3)["spec"]["template"]
    values: dict[str, str] = {}
    for row in template["spec"]["initContainers"][0]["env"]:
        text = pod if "valueFrom" in row else row["value"]
        for name, value in values.items():
            text = text.replace(f"$({name})", value)
        values[row["name"]] = text
    return values


@pytest.mark.parametrize("cluster", [samples.minimal(), samples.full(), samples.ephemeral()])
def test_the_sidecar_starts_with_them(cluster: ClusterSpec, tmp_path: Path) -> None:
    config = started(cluster, "orders-1", tmp_path)
    assert config.name == "orders-1"
    assert config.advertise_address == "orders-1.orders-peers.shop.svc:5101"
    assert config.cluster_id == cluster.ref.uid
    assert config.drain_ms == cluster.timeouts.drain_ms
    assert config.handover_ms == cluster.timeouts.handover_ms
    assert config.worker_grace_ms == cluster.timeouts.worker_grace_ms
    assert config.termination_grace_ms == grace_period_s(cluster) * 1_000
    assert not config.bootstrap
    assert str(config.data_dir).startswith(names.DATA_MOUNT + "/")


def test_addresses_are_reachable_but_for_the_applications(tmp_path: Path) -> None:
    config = started(samples.minimal(), "orders-0", tmp_path)
    assert config.app_address == "127.0.0.1:5100"
    assert config.peer_address == "0.0.0.0:5101"
    assert config.admin_address == "0.0.0.0:5102"
    assert config.http_address == "0.0.0.0:5103"
    assert config.peer_stream_address == "0.0.0.0:5104"


def test_members_are_found_by_name_and_by_the_service(tmp_path: Path) -> None:
    config = started(samples.minimal(), "orders-0", tmp_path)
    assert config.join[0] == "orders-0.orders-peers.shop.svc:5101"
    assert config.join[-1] == "orders-peers.shop.svc:5101"
    assert len(config.join) == 6


def test_mode_and_further_variables_arrive(tmp_path: Path) -> None:
    config = started(samples.full(), "orders-0", tmp_path)
    assert (config.mode, config.available_for_ms) == (Mode.AVAILABLE, 90_000)
    assert config.log_level == "debug"
    assert config.parked_messages_max == 90_000


@pytest.mark.parametrize(
    "timeouts",
    [
        {"drain": "1s", "handover": "100ms"},
        {"drain": "1500ms", "handover": "1499ms"},
        {"drain": "30m", "handover": "28m59s"},
    ],
    ids=str,
)
def test_extreme_times_are_taken_by_the_sidecar(timeouts: dict[str, Any], tmp_path: Path) -> None:
    cluster = cluster_spec(timeouts=timeouts)
    started(cluster, "orders-0", tmp_path)
    needed_ms = cluster.timeouts.drain_ms + cluster.timeouts.handover_ms
    assert grace_period_s(cluster) * 1_000 >= needed_ms + 10_000


def test_settings_are_plain_yaml() -> None:
    text = config_map(samples.full())["data"][names.CONFIG_FILE]
    assert yaml.safe_load(text)["cluster_id"] == samples.full().ref.uid
