from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_OK: _ClassVar[Reason]
    REASON_BAD_PARTITION: _ClassVar[Reason]
    REASON_EMPTY_KEY: _ClassVar[Reason]
    REASON_BAD_TARGET: _ClassVar[Reason]
    REASON_PAYLOAD_TOO_LARGE: _ClassVar[Reason]
    REASON_MALFORMED_FRAME: _ClassVar[Reason]
    REASON_WRONG_CLUSTER: _ClassVar[Reason]
    REASON_PROTOCOL_VERSION: _ClassVar[Reason]
    REASON_UNKNOWN_MEMBER: _ClassVar[Reason]
    REASON_INVALID_ARGUMENT: _ClassVar[Reason]
    REASON_CONFLICT: _ClassVar[Reason]
    REASON_COMPACTED: _ClassVar[Reason]
    REASON_LEFT_BEHIND: _ClassVar[Reason]
    REASON_NOT_OWNER: _ClassVar[Reason]
    REASON_STALE_EPOCH: _ClassVar[Reason]
    REASON_LEASE_EXPIRED: _ClassVar[Reason]
    REASON_NO_WORKER: _ClassVar[Reason]
    REASON_PARKING_FULL: _ClassVar[Reason]
    REASON_OVERLOADED: _ClassVar[Reason]
    REASON_NO_LEADER: _ClassVar[Reason]
    REASON_NOT_READY: _ClassVar[Reason]
    REASON_DRAINING: _ClassVar[Reason]
    REASON_PROPOSAL_DROPPED: _ClassVar[Reason]
    REASON_STORE_FULL: _ClassVar[Reason]
    REASON_SESSION_OVER: _ClassVar[Reason]
    REASON_DEADLINE_EXCEEDED: _ClassVar[Reason]
    REASON_CONNECTION_LOST: _ClassVar[Reason]
    REASON_OWNER_LOST: _ClassVar[Reason]
    REASON_WORKER_LOST: _ClassVar[Reason]
    REASON_HANDLER_FAILED: _ClassVar[Reason]
    REASON_INTERNAL: _ClassVar[Reason]

class Executed(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXECUTED_NO: _ClassVar[Executed]
    EXECUTED_YES: _ClassVar[Executed]
    EXECUTED_UNKNOWN: _ClassVar[Executed]
REASON_OK: Reason
REASON_BAD_PARTITION: Reason
REASON_EMPTY_KEY: Reason
REASON_BAD_TARGET: Reason
REASON_PAYLOAD_TOO_LARGE: Reason
REASON_MALFORMED_FRAME: Reason
REASON_WRONG_CLUSTER: Reason
REASON_PROTOCOL_VERSION: Reason
REASON_UNKNOWN_MEMBER: Reason
REASON_INVALID_ARGUMENT: Reason
REASON_CONFLICT: Reason
REASON_COMPACTED: Reason
REASON_LEFT_BEHIND: Reason
REASON_NOT_OWNER: Reason
REASON_STALE_EPOCH: Reason
REASON_LEASE_EXPIRED: Reason
REASON_NO_WORKER: Reason
REASON_PARKING_FULL: Reason
REASON_OVERLOADED: Reason
REASON_NO_LEADER: Reason
REASON_NOT_READY: Reason
REASON_DRAINING: Reason
REASON_PROPOSAL_DROPPED: Reason
REASON_STORE_FULL: Reason
REASON_SESSION_OVER: Reason
REASON_DEADLINE_EXCEEDED: Reason
REASON_CONNECTION_LOST: Reason
REASON_OWNER_LOST: Reason
REASON_WORKER_LOST: Reason
REASON_HANDLER_FAILED: Reason
REASON_INTERNAL: Reason
EXECUTED_NO: Executed
EXECUTED_YES: Executed
EXECUTED_UNKNOWN: Executed

class ErrorDetail(_message.Message):
    __slots__ = ("reason", "executed", "retry_after_ms", "owner", "epoch", "table_index", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    TABLE_INDEX_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: Reason
    executed: Executed
    retry_after_ms: int
    owner: int
    epoch: int
    table_index: int
    message: str
    def __init__(self, reason: _Optional[_Union[Reason, str]] = ..., executed: _Optional[_Union[Executed, str]] = ..., retry_after_ms: _Optional[int] = ..., owner: _Optional[int] = ..., epoch: _Optional[int] = ..., table_index: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class ItemError(_message.Message):
    __slots__ = ("position", "detail")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    position: int
    detail: ErrorDetail
    def __init__(self, position: _Optional[int] = ..., detail: _Optional[_Union[ErrorDetail, _Mapping]] = ...) -> None: ...
