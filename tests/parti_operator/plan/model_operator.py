"""The operator's loop as a model: look, plan, look live, plan again, act, write the status.

It does what `reconciler` does, step by step, and can be interrupted anywhere: the world goes on
between any two steps, looks can be old, and the operator can crash before or after each action.
"""

from __future__ import annotations

from dataclasses import dataclass

from parti_operator.plan import Plan, plan
from tests.parti_operator.plan.model_cluster import RefusedError
from tests.parti_operator.plan.model_world import ForbiddenError, World


@dataclass(frozen=True, slots=True)
class Pass:
    """How one pass goes."""

    objects_age: int = 0  # ticks that the cache is behind
    said_age: int = 0  # ticks since the sidecars were asked
    ticks_between: int = 0  # that pass between two steps
    crash_after: int | None = None  # actions; None: it comes to its end


UNDISTURBED = Pass()


def run(world: World, how: Pass = UNDISTURBED) -> Plan:
    """One pass; gives the last plan made."""
    said = world.said_before[-min(how.said_age + 1, len(world.said_before))]
    objects = world.objects_before[-min(how.objects_age + 1, len(world.objects_before))]
    if not how.objects_age:
        objects = world.objects()
    if not how.said_age:
        said = world.said()
    made = plan(world.look(objects, said, live=False), world.now_ms)
    if any(action.destructive for action in made.actions):
        raise ForbiddenError("something is destroyed on the word of a cache")
    version = world.version if objects.resource is world.resource else -1
    if made.actions or made.look_closer:
        objects, version = world.objects(), world.version
        known = {(pod.name, pod.uid) for pod in objects.pods}
        asked = {(pod.name, pod.uid) for pod in world.objects_before[-1].pods}
        same = {name for name, uid in known & asked}
        live = type(said)({n: s for n, s in said.sidecars.items() if n in same}, said.view)
        made = plan(world.look(objects, live, live=True), world.now_ms)
    for done, action in enumerate(made.actions):
        if how.crash_after is not None and done >= how.crash_after:
            return made
        _wait(world, how)
        try:
            world.carry_out(action)
        except RefusedError as refusal:
            world.log.append(f"  refused: {refusal}")
            break
    if how.crash_after is not None:
        return made
    _wait(world, how)
    try:
        world.write_status(made.status, version)
    except RefusedError as refusal:
        world.log.append(f"  status: {refusal}")
    return made


def _wait(world: World, how: Pass) -> None:
    for _ in range(how.ticks_between):
        world.tick()


def settle(world: World, passes: int = 250) -> None:
    """Let the operator work undisturbed until nothing is left to do. Raises AssertionError."""
    calm = 0
    for _ in range(passes):
        made = run(world)
        world.tick()
        busy = made.actions or made.look_closer or world.status.get("phase") != "Ready"
        calm = 0 if busy else calm + 1
        if calm == 3:
            return
    raise AssertionError(f"it does not settle; status {dict(world.status)}")
