"""Wires between machines: a bridge in the hub, one cable to each node, static routes to pods."""

from __future__ import annotations

from tests.kube.testbed import layout
from tests.kube.testbed.commands import run, succeeds
from tests.kube.testbed.machines import inside, run_inside
from tests.kube.testbed.state import ClusterState, Machine

_BRIDGE = "nodes"


def _ip(machine: Machine, words: str) -> None:
    run_inside(machine, "ip", *words.split())


def _hardware_address(address: str) -> str:
    """One that a machine keeps over its restarts, as a real one does.

    A bridge without an address of its own takes the lowest of its ports: with every cable that
    comes or goes it may change, and then the nodes send to the old one until ARP asks again, up to
    a minute later.
    """
    return ":".join(["02", "00", *(f"{int(part):02x}" for part in address.split("."))])


def wire_hub(hub: Machine) -> None:
    """Make the hub's bridge."""
    _ip(hub, "link set lo up")
    _ip(hub, f"link add {_BRIDGE} address {_hardware_address(layout.HUB_IP)} type bridge")
    _ip(hub, f"addr add {layout.HUB_IP}/24 dev {_BRIDGE}")
    _ip(hub, f"link set {_BRIDGE} up")


def wire_node(state: ClusterState, node: Machine) -> None:
    """Lay a cable from the node's eth0 to the bridge, and routes to everybody's pods."""
    hub = state.hub
    # A killed node's link lingers until the kernel has taken its namespace apart.
    succeeds(inside(hub, "ip", "link", "del", node.name))
    here = ["name", node.name, "netns", str(hub.pid)]
    there = ["name", "eth0", "address", _hardware_address(node.ip), "netns", str(node.pid)]
    run(["ip", "link", "add", *here, "type", "veth", "peer", *there])
    _ip(hub, f"link set {node.name} master {_BRIDGE} up")
    _ip(hub, f"route replace {layout.pod_network(node.number)} via {node.ip}")
    _ip(node, "link set lo up")
    _ip(node, f"addr add {node.ip}/24 dev eth0")
    _ip(node, "link set eth0 up")
    # The hub forwards nothing; the route only gives Service addresses, which iptables rewrites
    # later, a way out of the node's own processes.
    _ip(node, f"route add default via {layout.HUB_IP}")
    run_inside(node, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    for other in state.nodes:
        if other.number != node.number:
            _ip(node, f"route add {layout.pod_network(other.number)} via {other.ip}")


def set_cable(state: ClusterState, node: Machine, *, connected: bool) -> None:
    """Pull a node's cable, or put it back."""
    _ip(state.hub, f"link set {node.name} {'up' if connected else 'down'}")
