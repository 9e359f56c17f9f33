"""What the cluster is told besides its members: the policy, and facts about each of them. Pure.

A sidecar cannot see its node, so its zone and its weight come from here. What is not known (nodes
that may not be read, a pod that is not scheduled) is left as it is.
"""

from __future__ import annotations

from parti_operator.actions import DescribeMember, SetPolicy
from parti_operator.observed import MemberSeen
from parti_operator.plan.look import Look
from parti_operator.spec import CAPACITY_DEFAULT

_CAPACITY_MAX = 1_000


def plan_policy(look: Look) -> SetPolicy | None:
    """The policy of the spec. While members leave, it is that of those that are still there: fewer
    votes come with fewer members, not before.
    """
    if look.view is None:
        return None
    present = {look.ordinal(member) for member in look.members.values()} - {-1}
    wanted = look.spec.policy(max(look.want, len(present)))
    return SetPolicy(wanted) if look.view.policy != wanted else None


def plan_descriptions(look: Look) -> tuple[DescribeMember, ...]:
    """Of every member that its pod can be told of."""
    described = (_describe(look, ordinal) for ordinal in range(look.want))
    return tuple(action for action in described if action is not None)


def _describe(look: Look, ordinal: int) -> DescribeMember | None:
    member = look.member_at(ordinal)
    if member is None:
        return None
    zone, capacity = _zone(look, member, ordinal), _capacity(look, member, ordinal)
    if (zone, capacity) == (member.zone, member.capacity):
        return None
    return DescribeMember(member.member_id, zone, capacity)


def _zone(look: Look, member: MemberSeen, ordinal: int) -> str:
    pod, nodes = look.pods.get(ordinal), look.observed.nodes
    node = nodes.get(pod.node) if pod is not None and nodes is not None else None
    return node.zone if node is not None and node.zone else member.zone


def _capacity(look: Look, member: MemberSeen, ordinal: int) -> int:
    label = look.spec.placement.weight_label
    if not label:
        return look.spec.placement.weight_of(ordinal)
    pod, nodes = look.pods.get(ordinal), look.observed.nodes
    if pod is None:
        return member.capacity
    node = nodes.get(pod.node) if nodes is not None else None
    text = pod.labels.get(label) or (node.labels.get(label) if node is not None else None)
    if text is None or not text.isascii() or not text.isdigit():
        return CAPACITY_DEFAULT
    return min(max(1, int(text)), _CAPACITY_MAX)
