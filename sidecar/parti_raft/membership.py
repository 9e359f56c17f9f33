"""Switch to another configuration, when a change is applied or a snapshot restored."""

from __future__ import annotations

from parti_raft.changer import Changer
from parti_raft.confchange import ConfChangeV2
from parti_raft.core import Core
from parti_raft.replication import broadcast_append, maybe_commit, send_append
from parti_raft.types import NO_MEMBER, ConfState, Role


def apply_conf_change(core: Core, change: ConfChangeV2) -> ConfState:
    """Apply a committed change; raises `ConfChangeError` and changes nothing if it does not fit."""
    core.tracker.use(*Changer(core.tracker, core.log.last_index()).change(change))
    conf_state = core.tracker.configuration.conf_state()
    if core.role is Role.LEADER:
        _adjust_leader(core)
    return conf_state


def _adjust_leader(core: Core) -> None:
    progress = core.own_progress
    if progress is None or progress.is_learner:
        # A leader that is no voter any more leads on until the others have taken over, or
        # steps down at once if so configured.
        if core.config.step_down_on_removal:
            core.become_follower(core.term, NO_MEMBER)
        return
    if maybe_commit(core):
        broadcast_append(core)
    else:
        for member in core.tracker.progress:
            if member != core.id:
                send_append(core, member, even_empty=False)
    if core.transferee not in core.tracker.configuration.all_voters:
        core.transferee = NO_MEMBER
