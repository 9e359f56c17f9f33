"""Text forms of Raft's values as the scripts expect them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum

from parti_raft import (
    APPEND_THREAD,
    APPLY_THREAD,
    NO_MEMBER,
    ChangeType,
    Configuration,
    ConfState,
    Entry,
    EntryType,
    HardState,
    MemberId,
    Message,
    ProgressState,
    ProgressStatus,
    ReadState,
    Ready,
    Role,
    SingleChange,
    Snapshot,
    SoftState,
)
from parti_raft.confchange import as_v2, decode_conf_change

_TARGETS = {NO_MEMBER: "None", APPEND_THREAD: "AppendThread", APPLY_THREAD: "ApplyThread"}
_CHANGE_LETTERS = {
    ChangeType.ADD_VOTER: "v",
    ChangeType.ADD_LEARNER: "l",
    ChangeType.REMOVE: "r",
    ChangeType.UPDATE: "u",
}
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def camel(prefix: str, name: IntEnum) -> str:
    """`PRE_VOTE_RESP` with prefix `Msg` is `MsgPreVoteResp`."""
    return prefix + "".join(part.capitalize() for part in name.name.split("_"))


def quote(data: bytes) -> str:
    """Bytes as a quoted Go string."""
    return '"' + "".join(map(_quoted, data.decode("utf-8", "surrogateescape"))) + '"'


def _quoted(character: str) -> str:
    code = ord(character)
    if character in _ESCAPES:
        return _ESCAPES[character]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def parse_changes(text: str) -> tuple[SingleChange, ...]:
    """Read `v1 l2 r3 u4`; raises `ValueError`."""
    kinds = {letter: kind for kind, letter in _CHANGE_LETTERS.items()}
    changes = []
    for token in text.split():
        if len(token) < 2:
            raise ValueError(f"unknown token {token}")
        if token[0] not in kinds:
            raise ValueError(f"unknown input: {token}")
        changes.append(SingleChange(kinds[token[0]], MemberId(int(token[1:]))))
    return tuple(changes)


def entry_text(entry: Entry) -> str:
    """`term/index EntryNormal "data"`."""
    if entry.type is EntryType.NORMAL:
        detail = quote(entry.data)
    else:
        changes = as_v2(decode_conf_change(entry.type, entry.data)).changes
        detail = " ".join(f"{_CHANGE_LETTERS[each.type]}{each.member}" for each in changes)
    text = f"{entry.term}/{entry.index} {camel('Entry', entry.type)}"
    return f"{text} {detail}" if detail else text


def entries_text(entries: Iterable[Entry]) -> str:
    """One entry per line."""
    return "".join(entry_text(entry) + "\n" for entry in entries)


def _members(members: Iterable[MemberId]) -> str:
    return "[" + " ".join(map(str, members)) + "]"


def conf_state_text(state: ConfState) -> str:
    """All five fields."""
    return (
        f"Voters:{_members(state.voters)} VotersOutgoing:{_members(state.voters_outgoing)} "
        f"Learners:{_members(state.learners)} LearnersNext:{_members(state.learners_next)} "
        f"AutoLeave:{str(state.auto_leave).lower()}"
    )


def snapshot_text(snapshot: Snapshot) -> str:
    """Index, term and configuration; the data is not shown."""
    conf_state = conf_state_text(snapshot.conf_state)
    return f"Index:{snapshot.index} Term:{snapshot.term} ConfState:{conf_state}"


def message_text(message: Message, indent: str = "") -> str:
    """One message, with its responses below it."""
    text = (
        f"{indent}{_target(message.sender)}->{_target(message.to)} "
        f"{camel('Msg', message.type)} Term:{message.term} "
        f"Log:{message.log_term}/{message.index}"
    )
    if message.reject:
        text += f" Rejected (Hint: {message.reject_hint})"
    if message.commit:
        text += f" Commit:{message.commit}"
    if message.vote:
        text += f" Vote:{message.vote}"
    if len(message.entries) == 1:
        text += f" Entries:[{entry_text(message.entries[0])}]"
    elif message.entries:
        rows = "".join(f"\n{indent}  {entry_text(entry)}" for entry in message.entries)
        text += f" Entries:[{rows}\n{indent}]"
    if message.snapshot is not None and message.snapshot.index:
        text += f"\n{indent}  Snapshot: {snapshot_text(message.snapshot)}"
    if message.responses:
        rows = "".join("\n" + message_text(each, indent + "  ") for each in message.responses)
        text += f" Responses:[{rows}\n{indent}]"
    return text


def _target(member: MemberId) -> str:
    return _TARGETS.get(member) or f"{member:x}"


def hard_state_text(state: HardState) -> str:
    """Term, vote if any, commit."""
    vote = f" Vote:{state.vote}" if state.vote else ""
    return f"Term:{state.term}{vote} Commit:{state.commit}"


def role_text(role: Role) -> str:
    """`StateLeader` and so on."""
    return camel("State", role)


def soft_state_text(state: SoftState) -> str:
    """Leader and role."""
    return f"Lead:{state.leader} State:{role_text(state.role)}"


def _read_states_text(states: Iterable[ReadState]) -> str:
    rows = (f"{{{each.index} [{' '.join(map(str, each.context))}]}}" for each in states)
    return "[" + " ".join(rows) + "]"


def ready_text(ready: Ready) -> str:
    """All parts that are present."""
    text = ""
    if ready.soft_state is not None:
        text += soft_state_text(ready.soft_state) + "\n"
    if ready.hard_state is not None:
        text += f"HardState {hard_state_text(ready.hard_state)}\n"
    if ready.read_states:
        text += f"ReadStates {_read_states_text(ready.read_states)}\n"
    if ready.entries:
        text += "Entries:\n" + entries_text(ready.entries)
    if ready.snapshot is not None:
        text += f"Snapshot {snapshot_text(ready.snapshot)}\n"
    if ready.committed_entries:
        text += "CommittedEntries:\n" + entries_text(ready.committed_entries)
    if ready.messages:
        text += "Messages:\n" + "".join(message_text(each) + "\n" for each in ready.messages)
    if not text:
        return "<empty Ready>"
    return f"Ready MustSync={str(ready.must_sync).lower()}:\n{text}"


def _set_text(members: Iterable[MemberId]) -> str:
    return "(" + " ".join(f"{member:x}" for member in sorted(members)) + ")"


def configuration_text(configuration: Configuration) -> str:
    """`voters=(1 2)&&(1 3) learners=(4)` and so on."""
    text = f"voters={_set_text(configuration.voters)}"
    if configuration.joint:
        text += f"&&{_set_text(configuration.voters_outgoing)}"
    if configuration.learners:
        text += f" learners={_set_text(configuration.learners)}"
    if configuration.learners_next:
        text += f" learners_next={_set_text(configuration.learners_next)}"
    if configuration.auto_leave:
        text += " autoleave"
    return text


_PROGRESS_NAMES = {
    ProgressState.PROBE: "StateProbe",
    ProgressState.REPLICATE: "StateReplicate",
    ProgressState.SNAPSHOT: "StateSnapshot",
}


def progress_text(progress: Mapping[MemberId, ProgressStatus]) -> str:
    """One member per line, in the order of ids."""
    return "".join(f"{member}: {_progress_row(progress[member])}\n" for member in sorted(progress))


def _progress_row(progress: ProgressStatus) -> str:
    text = (
        f"{_PROGRESS_NAMES[progress.state]} match={progress.match_index} next={progress.next_index}"
    )
    if progress.is_learner:
        text += " learner"
    if progress.paused:
        text += " paused"
    if progress.pending_snapshot:
        text += f" pendingSnap={progress.pending_snapshot}"
    if not progress.recent_active:
        text += " inactive"
    if progress.inflight_count:
        text += f" inflight={progress.inflight_count}"
        text += "[full]" if progress.inflight_full else ""
    return text
