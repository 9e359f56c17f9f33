from parti_proto import errors_pb2 as _errors_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KvOp(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KV_OP_NONE: _ClassVar[KvOp]
    KV_OP_PUT: _ClassVar[KvOp]
    KV_OP_DELETE: _ClassVar[KvOp]
    KV_OP_TXN: _ClassVar[KvOp]
    KV_OP_ACQUIRE: _ClassVar[KvOp]
    KV_OP_RELEASE: _ClassVar[KvOp]

class KvStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KV_STATUS_OK: _ClassVar[KvStatus]
    KV_STATUS_ABSENT: _ClassVar[KvStatus]
    KV_STATUS_COMPARE_FAILED: _ClassVar[KvStatus]
    KV_STATUS_WAITING: _ClassVar[KvStatus]
    KV_STATUS_HELD: _ClassVar[KvStatus]
    KV_STATUS_SESSION_OVER: _ClassVar[KvStatus]
    KV_STATUS_FORGOTTEN: _ClassVar[KvStatus]
    KV_STATUS_WINDOW_FULL: _ClassVar[KvStatus]
    KV_STATUS_STORE_FULL: _ClassVar[KvStatus]
    KV_STATUS_SESSIONS_FULL: _ClassVar[KvStatus]
    KV_STATUS_LOCKS_FULL: _ClassVar[KvStatus]
    KV_STATUS_ANSWER_TOO_LARGE: _ClassVar[KvStatus]
KV_OP_NONE: KvOp
KV_OP_PUT: KvOp
KV_OP_DELETE: KvOp
KV_OP_TXN: KvOp
KV_OP_ACQUIRE: KvOp
KV_OP_RELEASE: KvOp
KV_STATUS_OK: KvStatus
KV_STATUS_ABSENT: KvStatus
KV_STATUS_COMPARE_FAILED: KvStatus
KV_STATUS_WAITING: KvStatus
KV_STATUS_HELD: KvStatus
KV_STATUS_SESSION_OVER: KvStatus
KV_STATUS_FORGOTTEN: KvStatus
KV_STATUS_WINDOW_FULL: KvStatus
KV_STATUS_STORE_FULL: KvStatus
KV_STATUS_SESSIONS_FULL: KvStatus
KV_STATUS_LOCKS_FULL: KvStatus
KV_STATUS_ANSWER_TOO_LARGE: KvStatus

class KvOnce(_message.Message):
    __slots__ = ("session", "seq", "acknowledged_below")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_BELOW_FIELD_NUMBER: _ClassVar[int]
    session: int
    seq: int
    acknowledged_below: int
    def __init__(self, session: _Optional[int] = ..., seq: _Optional[int] = ..., acknowledged_below: _Optional[int] = ...) -> None: ...

class KvGetRequest(_message.Message):
    __slots__ = ("key", "stale")
    KEY_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    stale: bool
    def __init__(self, key: _Optional[bytes] = ..., stale: _Optional[bool] = ...) -> None: ...

class KvGetReply(_message.Message):
    __slots__ = ("found", "value", "revision", "created", "store_revision")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    STORE_REVISION_FIELD_NUMBER: _ClassVar[int]
    found: bool
    value: bytes
    revision: int
    created: int
    store_revision: int
    def __init__(self, found: _Optional[bool] = ..., value: _Optional[bytes] = ..., revision: _Optional[int] = ..., created: _Optional[int] = ..., store_revision: _Optional[int] = ...) -> None: ...

class KvPutRequest(_message.Message):
    __slots__ = ("key", "value", "once")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ONCE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    once: KvOnce
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., once: _Optional[_Union[KvOnce, _Mapping]] = ...) -> None: ...

class KvDeleteRequest(_message.Message):
    __slots__ = ("key", "expect", "once")
    KEY_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FIELD_NUMBER: _ClassVar[int]
    ONCE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    expect: int
    once: KvOnce
    def __init__(self, key: _Optional[bytes] = ..., expect: _Optional[int] = ..., once: _Optional[_Union[KvOnce, _Mapping]] = ...) -> None: ...

class KvCompareAndSetRequest(_message.Message):
    __slots__ = ("key", "value", "expect", "once")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FIELD_NUMBER: _ClassVar[int]
    ONCE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    expect: int
    once: KvOnce
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., expect: _Optional[int] = ..., once: _Optional[_Union[KvOnce, _Mapping]] = ...) -> None: ...

class KvWriteReply(_message.Message):
    __slots__ = ("changed", "revision", "compare_failed")
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    COMPARE_FAILED_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    revision: int
    compare_failed: bool
    def __init__(self, changed: _Optional[bool] = ..., revision: _Optional[int] = ..., compare_failed: _Optional[bool] = ...) -> None: ...

class KvTxnRequest(_message.Message):
    __slots__ = ("compare", "then", "otherwise", "once")
    COMPARE_FIELD_NUMBER: _ClassVar[int]
    THEN_FIELD_NUMBER: _ClassVar[int]
    OTHERWISE_FIELD_NUMBER: _ClassVar[int]
    ONCE_FIELD_NUMBER: _ClassVar[int]
    compare: _containers.RepeatedCompositeFieldContainer[KvCompare]
    then: _containers.RepeatedCompositeFieldContainer[KvAction]
    otherwise: _containers.RepeatedCompositeFieldContainer[KvAction]
    once: KvOnce
    def __init__(self, compare: _Optional[_Iterable[_Union[KvCompare, _Mapping]]] = ..., then: _Optional[_Iterable[_Union[KvAction, _Mapping]]] = ..., otherwise: _Optional[_Iterable[_Union[KvAction, _Mapping]]] = ..., once: _Optional[_Union[KvOnce, _Mapping]] = ...) -> None: ...

class KvCompare(_message.Message):
    __slots__ = ("key", "relation", "value", "revision", "created")
    class Relation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RELATION_EQUAL: _ClassVar[KvCompare.Relation]
        RELATION_NOT_EQUAL: _ClassVar[KvCompare.Relation]
        RELATION_LESS: _ClassVar[KvCompare.Relation]
        RELATION_GREATER: _ClassVar[KvCompare.Relation]
    RELATION_EQUAL: KvCompare.Relation
    RELATION_NOT_EQUAL: KvCompare.Relation
    RELATION_LESS: KvCompare.Relation
    RELATION_GREATER: KvCompare.Relation
    KEY_FIELD_NUMBER: _ClassVar[int]
    RELATION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    relation: KvCompare.Relation
    value: bytes
    revision: int
    created: int
    def __init__(self, key: _Optional[bytes] = ..., relation: _Optional[_Union[KvCompare.Relation, str]] = ..., value: _Optional[bytes] = ..., revision: _Optional[int] = ..., created: _Optional[int] = ...) -> None: ...

class KvAction(_message.Message):
    __slots__ = ("get", "put", "delete")
    GET_FIELD_NUMBER: _ClassVar[int]
    PUT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    get: bytes
    put: KvPair
    delete: bytes
    def __init__(self, get: _Optional[bytes] = ..., put: _Optional[_Union[KvPair, _Mapping]] = ..., delete: _Optional[bytes] = ...) -> None: ...

class KvPair(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

class KvTxnReply(_message.Message):
    __slots__ = ("succeeded", "actions", "revision")
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    succeeded: bool
    actions: _containers.RepeatedCompositeFieldContainer[KvActionReply]
    revision: int
    def __init__(self, succeeded: _Optional[bool] = ..., actions: _Optional[_Iterable[_Union[KvActionReply, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class KvActionReply(_message.Message):
    __slots__ = ("found", "value", "revision")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    found: bool
    value: bytes
    revision: int
    def __init__(self, found: _Optional[bool] = ..., value: _Optional[bytes] = ..., revision: _Optional[int] = ...) -> None: ...

class KvRangeRequest(_message.Message):
    __slots__ = ("prefix", "after", "limit", "stale", "keys_only")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    KEYS_ONLY_FIELD_NUMBER: _ClassVar[int]
    prefix: bytes
    after: bytes
    limit: int
    stale: bool
    keys_only: bool
    def __init__(self, prefix: _Optional[bytes] = ..., after: _Optional[bytes] = ..., limit: _Optional[int] = ..., stale: _Optional[bool] = ..., keys_only: _Optional[bool] = ...) -> None: ...

class KvRangeReply(_message.Message):
    __slots__ = ("items", "more", "store_revision")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    STORE_REVISION_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[KvItem]
    more: bool
    store_revision: int
    def __init__(self, items: _Optional[_Iterable[_Union[KvItem, _Mapping]]] = ..., more: _Optional[bool] = ..., store_revision: _Optional[int] = ...) -> None: ...

class KvItem(_message.Message):
    __slots__ = ("key", "value", "revision", "created")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    revision: int
    created: int
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., revision: _Optional[int] = ..., created: _Optional[int] = ...) -> None: ...

class KvWatchRequest(_message.Message):
    __slots__ = ("prefix", "after")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    prefix: bytes
    after: int
    def __init__(self, prefix: _Optional[bytes] = ..., after: _Optional[int] = ...) -> None: ...

class KvWatchReply(_message.Message):
    __slots__ = ("changes", "reached")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    REACHED_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[KvChange]
    reached: int
    def __init__(self, changes: _Optional[_Iterable[_Union[KvChange, _Mapping]]] = ..., reached: _Optional[int] = ...) -> None: ...

class KvChange(_message.Message):
    __slots__ = ("key", "value", "revision", "deleted")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    revision: int
    deleted: bool
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., revision: _Optional[int] = ..., deleted: _Optional[bool] = ...) -> None: ...

class KvOpenSessionRequest(_message.Message):
    __slots__ = ("nonce", "ttl_ms")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    ttl_ms: int
    def __init__(self, nonce: _Optional[int] = ..., ttl_ms: _Optional[int] = ...) -> None: ...

class KvOpenSessionReply(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: int
    def __init__(self, session: _Optional[int] = ...) -> None: ...

class KvKeepAliveRequest(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, session: _Optional[_Iterable[int]] = ...) -> None: ...

class KvKeepAliveReply(_message.Message):
    __slots__ = ("alive",)
    ALIVE_FIELD_NUMBER: _ClassVar[int]
    alive: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, alive: _Optional[_Iterable[bool]] = ...) -> None: ...

class KvCloseSessionRequest(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: int
    def __init__(self, session: _Optional[int] = ...) -> None: ...

class KvCloseSessionReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class KvLockRequest(_message.Message):
    __slots__ = ("name", "value", "once", "only_if_free")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ONCE_FIELD_NUMBER: _ClassVar[int]
    ONLY_IF_FREE_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    value: bytes
    once: KvOnce
    only_if_free: bool
    def __init__(self, name: _Optional[bytes] = ..., value: _Optional[bytes] = ..., once: _Optional[_Union[KvOnce, _Mapping]] = ..., only_if_free: _Optional[bool] = ...) -> None: ...

class KvLockReply(_message.Message):
    __slots__ = ("held", "token")
    HELD_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    held: bool
    token: int
    def __init__(self, held: _Optional[bool] = ..., token: _Optional[int] = ...) -> None: ...

class KvUnlockRequest(_message.Message):
    __slots__ = ("name", "once")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ONCE_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    once: KvOnce
    def __init__(self, name: _Optional[bytes] = ..., once: _Optional[_Union[KvOnce, _Mapping]] = ...) -> None: ...

class KvUnlockReply(_message.Message):
    __slots__ = ("released",)
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    released: bool
    def __init__(self, released: _Optional[bool] = ...) -> None: ...

class KvWatchLockRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    def __init__(self, name: _Optional[bytes] = ...) -> None: ...

class KvLockState(_message.Message):
    __slots__ = ("session", "token", "value", "waiting")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    session: int
    token: int
    value: bytes
    waiting: int
    def __init__(self, session: _Optional[int] = ..., token: _Optional[int] = ..., value: _Optional[bytes] = ..., waiting: _Optional[int] = ...) -> None: ...

class KvFrame(_message.Message):
    __slots__ = ("timeout_ms", "session", "acknowledged_below", "seq", "op", "key", "value", "expect", "read_id", "read_key", "stale")
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_BELOW_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    OP_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FIELD_NUMBER: _ClassVar[int]
    READ_ID_FIELD_NUMBER: _ClassVar[int]
    READ_KEY_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    timeout_ms: int
    session: int
    acknowledged_below: int
    seq: _containers.RepeatedScalarFieldContainer[int]
    op: _containers.RepeatedScalarFieldContainer[KvOp]
    key: _containers.RepeatedScalarFieldContainer[bytes]
    value: _containers.RepeatedScalarFieldContainer[bytes]
    expect: _containers.RepeatedScalarFieldContainer[int]
    read_id: _containers.RepeatedScalarFieldContainer[int]
    read_key: _containers.RepeatedScalarFieldContainer[bytes]
    stale: bool
    def __init__(self, timeout_ms: _Optional[int] = ..., session: _Optional[int] = ..., acknowledged_below: _Optional[int] = ..., seq: _Optional[_Iterable[int]] = ..., op: _Optional[_Iterable[_Union[KvOp, str]]] = ..., key: _Optional[_Iterable[bytes]] = ..., value: _Optional[_Iterable[bytes]] = ..., expect: _Optional[_Iterable[int]] = ..., read_id: _Optional[_Iterable[int]] = ..., read_key: _Optional[_Iterable[bytes]] = ..., stale: _Optional[bool] = ...) -> None: ...

class KvAnswers(_message.Message):
    __slots__ = ("welcome", "session", "seq", "status", "revision", "result_at", "result", "read_id", "read_revision", "read_created", "read_value", "refused")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RESULT_AT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    READ_ID_FIELD_NUMBER: _ClassVar[int]
    READ_REVISION_FIELD_NUMBER: _ClassVar[int]
    READ_CREATED_FIELD_NUMBER: _ClassVar[int]
    READ_VALUE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    welcome: KvWelcome
    session: int
    seq: _containers.RepeatedScalarFieldContainer[int]
    status: _containers.RepeatedScalarFieldContainer[KvStatus]
    revision: _containers.RepeatedScalarFieldContainer[int]
    result_at: _containers.RepeatedScalarFieldContainer[int]
    result: _containers.RepeatedScalarFieldContainer[bytes]
    read_id: _containers.RepeatedScalarFieldContainer[int]
    read_revision: _containers.RepeatedScalarFieldContainer[int]
    read_created: _containers.RepeatedScalarFieldContainer[int]
    read_value: _containers.RepeatedScalarFieldContainer[bytes]
    refused: _containers.RepeatedCompositeFieldContainer[KvRefusal]
    def __init__(self, welcome: _Optional[_Union[KvWelcome, _Mapping]] = ..., session: _Optional[int] = ..., seq: _Optional[_Iterable[int]] = ..., status: _Optional[_Iterable[_Union[KvStatus, str]]] = ..., revision: _Optional[_Iterable[int]] = ..., result_at: _Optional[_Iterable[int]] = ..., result: _Optional[_Iterable[bytes]] = ..., read_id: _Optional[_Iterable[int]] = ..., read_revision: _Optional[_Iterable[int]] = ..., read_created: _Optional[_Iterable[int]] = ..., read_value: _Optional[_Iterable[bytes]] = ..., refused: _Optional[_Iterable[_Union[KvRefusal, _Mapping]]] = ...) -> None: ...

class KvRefusal(_message.Message):
    __slots__ = ("seq", "read_id", "detail")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    READ_ID_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    seq: _containers.RepeatedScalarFieldContainer[int]
    read_id: _containers.RepeatedScalarFieldContainer[int]
    detail: _errors_pb2.ErrorDetail
    def __init__(self, seq: _Optional[_Iterable[int]] = ..., read_id: _Optional[_Iterable[int]] = ..., detail: _Optional[_Union[_errors_pb2.ErrorDetail, _Mapping]] = ...) -> None: ...

class KvWelcome(_message.Message):
    __slots__ = ("protocol_version", "window", "reads_max")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    READS_MAX_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    window: int
    reads_max: int
    def __init__(self, protocol_version: _Optional[int] = ..., window: _Optional[int] = ..., reads_max: _Optional[int] = ...) -> None: ...
