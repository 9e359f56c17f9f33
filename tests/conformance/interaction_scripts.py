"""Run interaction steps on a group of members; see `Group` for what the members do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from parti_raft import (
    NO_LIMIT,
    ConfChange,
    ConfChangeV1,
    ConfChangeV2,
    Config,
    ConfState,
    LogIndex,
    MemberId,
    Message,
    MessageType,
    RaftError,
    ReadOnlyOption,
    Snapshot,
    Term,
    Transition,
)
from tests.conformance.datadriven import ScriptError, Step
from tests.conformance.group import Group, error_text
from tests.conformance.printing import (
    camel,
    message_text,
    parse_changes,
    progress_text,
    role_text,
)

_ELECTION_TICKS = 3
_HEARTBEAT_TICKS = 1
_UNLIMITED_INFLIGHT = (1 << 31) - 1
_LEVELS = ("debug", "info", "warn", "error", "fatal", "none")
_TRANSITIONS = {
    "auto": Transition.AUTO,
    "implicit": Transition.JOINT_IMPLICIT,
    "explicit": Transition.JOINT_EXPLICIT,
}
_MESSAGE_TYPES = {camel("Msg", kind): kind for kind in MessageType}


class InteractionScript:
    """One script's group; election timeouts are drawn with a fixed seed."""

    def __init__(self) -> None:
        """Start without members."""
        self._group = Group()
        self._random = Random(0)

    def run(self, step: Step) -> str:
        """Run one step and give its output."""
        handler = COMMANDS.get(step.command)
        if handler is None:
            return "unknown command"
        failure = ""
        try:
            handler(self, step)
        except (RaftError, ValueError) as error:
            failure = error_text(error)
        output = self._group.take_output() + failure
        for node in self._group.nodes:
            node.raw.check_invariants()
        return output or "ok"

    # Members.

    def _add_nodes(self, step: Step) -> None:
        boot = None
        keys = ("voters", "learners", "index", "content")
        if any(step.has(key) for key in keys):
            index = int(step.value("index", "0"))
            if index <= 1:
                raise ValueError("index must be specified as > 1 due to bootstrap")
            conf_state = ConfState(
                voters=_ids(step.values("voters")), learners=_ids(step.values("learners"))
            )
            data = step.value("content").encode()
            boot = Snapshot(LogIndex(index), Term(1), conf_state, data)
        template = self._config(step, applied=boot.index if boot else 0)
        for _ in range(step.numbers[0]):
            config = replace(template, id=MemberId(len(self._group.nodes) + 1))
            self._group.add_node(config, boot)

    def _config(self, step: Step, applied: int) -> Config:
        limit = step.value("max-committed-size-per-ready")
        return Config(
            id=MemberId(1),
            random_timeout=self._random.randint,
            election_tick=_ELECTION_TICKS,
            heartbeat_tick=_HEARTBEAT_TICKS,
            applied=applied,
            async_storage_writes=_flag(step, "async-storage-writes"),
            max_size_per_msg=NO_LIMIT,
            max_committed_size_per_ready=int(limit) if limit else None,
            max_uncommitted_size=NO_LIMIT,
            max_inflight_msgs=int(step.value("inflight", str(_UNLIMITED_INFLIGHT))),
            max_inflight_bytes=NO_LIMIT,
            check_quorum=_flag(step, "checkquorum"),
            pre_vote=_flag(step, "prevote"),
            read_only_option=ReadOnlyOption(step.value("read-only", "safe")),
            disable_conf_change_validation=_flag(step, "disable-conf-change-validation"),
            step_down_on_removal=_flag(step, "step-down-on-removal"),
        )

    # Requests.

    def _campaign(self, step: Step) -> None:
        self._group.node(step.numbers[0]).raw.campaign()

    def _propose(self, step: Step) -> None:
        member, data = step.words
        self._group.node(int(member)).raw.propose(data.encode())

    def _propose_conf_change(self, step: Step) -> None:
        transition = _TRANSITIONS.get(step.value("transition", "auto"))
        if transition is None:
            raise ValueError(f"unknown transition {step.value('transition')}")
        changes = parse_changes(step.input)
        change: ConfChange = ConfChangeV2(transition, changes)
        if _flag(step, "v1"):
            if len(changes) != 1 or transition is not Transition.AUTO:
                raise ValueError("v1 conf change can only have one operation and no transition")
            change = ConfChangeV1(changes[0].type, changes[0].member)
        self._group.node(step.numbers[0]).raw.propose_conf_change(change)

    def _transfer_leadership(self, step: Step) -> None:
        node = self._group.node(int(step.value("from")))
        node.raw.transfer_leader(MemberId(int(step.value("to"))))

    def _forget_leader(self, step: Step) -> None:
        self._group.node(step.numbers[0]).raw.forget_leader()

    def _report_unreachable(self, step: Step) -> None:
        on, whom = step.numbers
        self._group.node(on).raw.report_unreachable(MemberId(whom))

    def _set_timeout(self, step: Step) -> None:
        core = self._group.node(step.numbers[0]).raw._core
        core.election_timeout = int(step.value("timeout"))

    def _tick_election(self, step: Step) -> None:
        for _ in range(_ELECTION_TICKS):
            self._group.node(step.numbers[0]).raw.tick()

    def _tick_heartbeat(self, step: Step) -> None:
        for _ in range(_HEARTBEAT_TICKS):
            self._group.node(step.numbers[0]).raw.tick()

    # Work and delivery.

    def _each(self, step: Step, title: str, work: Callable[[int], None]) -> None:
        members = step.numbers
        for member in members:
            if len(members) == 1:
                work(member)
                continue
            self._group.write(f"> {member} {title}\n")
            with self._group.indented():
                work(member)

    def _process_ready(self, step: Step) -> None:
        self._each(step, "handling Ready", self._group.process_ready)

    def _process_append_thread(self, step: Step) -> None:
        self._each(step, "processing append thread", self._group.process_append_thread)

    def _process_apply_thread(self, step: Step) -> None:
        self._each(step, "processing apply thread", self._group.process_apply_thread)

    def _deliver(self, step: Step) -> None:
        kind = None
        if step.has("type"):
            kind = _MESSAGE_TYPES.get(step.value("type"))
            if kind is None:
                raise ScriptError(f"unknown message type {step.value('type')}")
        count = 0
        for argument in step.arguments:
            if not argument.values:
                count += self._group.deliver(int(argument.key), kind)
            elif argument.key == "drop":
                for member in argument.values:
                    count += self._group.deliver(int(member), kind, drop=True)
        if not count:
            self._group.write("no messages\n")

    def _stabilize(self, step: Step) -> None:
        before = self._group.quiet
        if step.has("log-level"):
            self._set_level(step.value("log-level"))
        try:
            self._group.stabilize(step.numbers or range(1, len(self._group.nodes) + 1))
        finally:
            self._group.quiet = before

    def _send_snapshot(self, step: Step) -> None:
        sender, to = step.numbers
        node = self._group.node(sender)
        message = Message(
            MessageType.SNAP,
            to=MemberId(to),
            sender=MemberId(sender),
            term=node.raw.term,
            snapshot=node.log.snapshot(),
        )
        self._group.messages.append(message)
        self._group.write(message_text(message))

    # Views.

    def _log_level(self, step: Step) -> None:
        self._set_level(step.words[0])

    def _set_level(self, level: str) -> None:
        if level.lower() not in _LEVELS:
            raise ValueError(f"log levels must be either of {_LEVELS}")
        self._group.quiet = level.lower() == "none"

    def _raft_log(self, step: Step) -> None:
        self._group.write(self._group.log_text(MemberId(step.numbers[0])))

    def _compact(self, step: Step) -> None:
        member, index = step.numbers
        log = self._group.node(member).log
        if index < log.first_index():
            raise ValueError("requested index is unavailable due to compaction")
        log.compact(index)
        self._raft_log(step)

    def _raft_state(self, _step: Step) -> None:
        for node in self._group.nodes:
            status = node.raw.status()
            voter = status.basic.id in status.configuration.all_voters
            self._group.write(
                f"{status.basic.id}: {role_text(status.basic.soft_state.role)} "
                f"({'Voter' if voter else 'Non-Voter'}) "
                f"Term:{status.basic.hard_state.term} "
                f"Lead:{status.basic.soft_state.leader}\n"
            )

    def _status(self, step: Step) -> None:
        status = self._group.node(step.numbers[0]).raw.status()
        self._group.write(progress_text(status.progress))


def _ids(values: tuple[str, ...]) -> tuple[MemberId, ...]:
    return tuple(MemberId(int(value)) for value in values)


def _flag(step: Step, key: str) -> bool:
    return step.value(key, "false") == "true"


COMMANDS: dict[str, Callable[[InteractionScript, Step], None]] = {
    "add-nodes": InteractionScript._add_nodes,
    "campaign": InteractionScript._campaign,
    "compact": InteractionScript._compact,
    "deliver-msgs": InteractionScript._deliver,
    "forget-leader": InteractionScript._forget_leader,
    "log-level": InteractionScript._log_level,
    "process-append-thread": InteractionScript._process_append_thread,
    "process-apply-thread": InteractionScript._process_apply_thread,
    "process-ready": InteractionScript._process_ready,
    "propose": InteractionScript._propose,
    "propose-conf-change": InteractionScript._propose_conf_change,
    "raft-log": InteractionScript._raft_log,
    "raft-state": InteractionScript._raft_state,
    "report-unreachable": InteractionScript._report_unreachable,
    "send-snapshot": InteractionScript._send_snapshot,
    "set-randomized-election-timeout": InteractionScript._set_timeout,
    "stabilize": InteractionScript._stabilize,
    "status": InteractionScript._status,
    "tick-election": InteractionScript._tick_election,
    "tick-heartbeat": InteractionScript._tick_heartbeat,
    "transfer-leadership": InteractionScript._transfer_leadership,
}
