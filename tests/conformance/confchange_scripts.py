"""Run `simple`, `enter-joint` and `leave-joint` steps on a tracker that starts empty."""

from __future__ import annotations

from parti_raft import NO_LIMIT, ConfChangeError, ConfChangeReason
from parti_raft.changer import Changed, Changer
from parti_raft.status import progress_status
from parti_raft.tracker import Tracker
from tests.conformance.datadriven import Step
from tests.conformance.printing import configuration_text, parse_changes, progress_text

COMMANDS = frozenset({"simple", "enter-joint", "leave-joint"})

_MAX_INFLIGHT = 10
_TEXTS = {
    ConfChangeReason.ALREADY_JOINT: "config is already joint",
    ConfChangeReason.NO_VOTERS_TO_JOIN: "can't make a zero-voter config joint",
    ConfChangeReason.NOT_JOINT: "can't leave a non-joint config",
    ConfChangeReason.SIMPLE_IN_JOINT: "can't apply simple config change in joint config",
    ConfChangeReason.TOO_MANY_VOTERS_CHANGED: (
        "more than one voter changed without entering joint config"
    ),
    ConfChangeReason.NO_VOTERS_LEFT: "removed all voters",
}


class ConfChangeScript:
    """The tracker of one script; the last index rises by one per step."""

    def __init__(self) -> None:
        """Start without members."""
        self._tracker = Tracker(_MAX_INFLIGHT, NO_LIMIT)
        self._last_index = 0

    def run(self, step: Step) -> str:
        """Run one step and give its output."""
        try:
            self._tracker.use(*self._change(step))
        except ConfChangeError as error:
            return _TEXTS[error.reason]
        except ValueError as error:
            return str(error)
        finally:
            self._last_index += 1
        progress = {
            member: progress_status(each) for member, each in self._tracker.progress.items()
        }
        return f"{configuration_text(self._tracker.configuration)}\n{progress_text(progress)}"

    def _change(self, step: Step) -> Changed:
        changes = parse_changes(step.input)
        changer = Changer(self._tracker, self._last_index)
        if step.command == "simple":
            return changer.simple(changes)
        if step.command == "enter-joint":
            return changer.enter_joint(changes, auto_leave=step.value("autoleave") == "true")
        if changes:
            raise ValueError("this command takes no input")
        return changer.leave_joint()
