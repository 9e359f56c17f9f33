"""What a plan says. Pure.

The order in which a plan is carried out: actions one after the other up to the first that fails,
then the status, then the events. What has to be known before an action may begin (the pod that is
bootstrapped, the members that are drained by us) is therefore written in a pass of its own, without
actions; the action comes in the pass that finds it written.
"""

from __future__ import annotations

from dataclasses import dataclass

from parti_operator.actions import Action
from parti_operator.names import EventReason
from parti_operator.observed import KubeObject


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something to tell people about, once."""

    reason: EventReason
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of one look."""

    actions: tuple[Action, ...]
    status: KubeObject  # the whole status of the PartiCluster
    events: tuple[Occurrence, ...]
    requeue_after_ms: int
    look_closer: bool = False  # more is to be done, by a plan made from a live look
