from parti_proto import errors_pb2 as _errors_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_FREE: _ClassVar[Phase]
    PHASE_OWNED: _ClassVar[Phase]
    PHASE_REVOKING: _ClassVar[Phase]
PHASE_FREE: Phase
PHASE_OWNED: Phase
PHASE_REVOKING: Phase

class Headers(_message.Message):
    __slots__ = ("values",)
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.ScalarMap[str, str]
    def __init__(self, values: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SendRequest(_message.Message):
    __slots__ = ("partition", "key", "payload", "headers", "idempotent")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENT_FIELD_NUMBER: _ClassVar[int]
    partition: int
    key: bytes
    payload: bytes
    headers: Headers
    idempotent: bool
    def __init__(self, partition: _Optional[int] = ..., key: _Optional[bytes] = ..., payload: _Optional[bytes] = ..., headers: _Optional[_Union[Headers, _Mapping]] = ..., idempotent: _Optional[bool] = ...) -> None: ...

class SendReply(_message.Message):
    __slots__ = ("payload", "partition", "epoch")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    partition: int
    epoch: int
    def __init__(self, payload: _Optional[bytes] = ..., partition: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class SendFrame(_message.Message):
    __slots__ = ("id", "partition", "key", "payload", "timeout_ms", "idempotent_at", "headers_at", "headers")
    ID_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENT_AT_FIELD_NUMBER: _ClassVar[int]
    HEADERS_AT_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    id: _containers.RepeatedScalarFieldContainer[int]
    partition: _containers.RepeatedScalarFieldContainer[int]
    key: _containers.RepeatedScalarFieldContainer[bytes]
    payload: _containers.RepeatedScalarFieldContainer[bytes]
    timeout_ms: _containers.RepeatedScalarFieldContainer[int]
    idempotent_at: _containers.RepeatedScalarFieldContainer[int]
    headers_at: _containers.RepeatedScalarFieldContainer[int]
    headers: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, id: _Optional[_Iterable[int]] = ..., partition: _Optional[_Iterable[int]] = ..., key: _Optional[_Iterable[bytes]] = ..., payload: _Optional[_Iterable[bytes]] = ..., timeout_ms: _Optional[_Iterable[int]] = ..., idempotent_at: _Optional[_Iterable[int]] = ..., headers_at: _Optional[_Iterable[int]] = ..., headers: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ResultFrame(_message.Message):
    __slots__ = ("id", "epoch", "payload", "errors", "welcome", "draining")
    ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    id: _containers.RepeatedScalarFieldContainer[int]
    epoch: _containers.RepeatedScalarFieldContainer[int]
    payload: _containers.RepeatedScalarFieldContainer[bytes]
    errors: _containers.RepeatedCompositeFieldContainer[_errors_pb2.ItemError]
    welcome: Welcome
    draining: bool
    def __init__(self, id: _Optional[_Iterable[int]] = ..., epoch: _Optional[_Iterable[int]] = ..., payload: _Optional[_Iterable[bytes]] = ..., errors: _Optional[_Iterable[_Union[_errors_pb2.ItemError, _Mapping]]] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., draining: _Optional[bool] = ...) -> None: ...

class LocateRequest(_message.Message):
    __slots__ = ("partition", "key")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    partition: int
    key: bytes
    def __init__(self, partition: _Optional[int] = ..., key: _Optional[bytes] = ...) -> None: ...

class LocateReply(_message.Message):
    __slots__ = ("partition", "owner_name", "table_index")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OWNER_NAME_FIELD_NUMBER: _ClassVar[int]
    TABLE_INDEX_FIELD_NUMBER: _ClassVar[int]
    partition: PartitionState
    owner_name: str
    table_index: int
    def __init__(self, partition: _Optional[_Union[PartitionState, _Mapping]] = ..., owner_name: _Optional[str] = ..., table_index: _Optional[int] = ...) -> None: ...

class PartitionState(_message.Message):
    __slots__ = ("partition", "owner", "epoch", "phase", "target")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    partition: int
    owner: int
    epoch: int
    phase: Phase
    target: int
    def __init__(self, partition: _Optional[int] = ..., owner: _Optional[int] = ..., epoch: _Optional[int] = ..., phase: _Optional[_Union[Phase, str]] = ..., target: _Optional[int] = ...) -> None: ...

class WatchTableRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TableEvent(_message.Message):
    __slots__ = ("table_index", "partitions", "whole", "changed", "member_names")
    class MemberNamesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    TABLE_INDEX_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    MEMBER_NAMES_FIELD_NUMBER: _ClassVar[int]
    table_index: int
    partitions: int
    whole: bool
    changed: _containers.RepeatedCompositeFieldContainer[PartitionState]
    member_names: _containers.ScalarMap[int, str]
    def __init__(self, table_index: _Optional[int] = ..., partitions: _Optional[int] = ..., whole: _Optional[bool] = ..., changed: _Optional[_Iterable[_Union[PartitionState, _Mapping]]] = ..., member_names: _Optional[_Mapping[int, str]] = ...) -> None: ...

class StreamAddressRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StreamAddressReply(_message.Message):
    __slots__ = ("port", "socket_name")
    PORT_FIELD_NUMBER: _ClassVar[int]
    SOCKET_NAME_FIELD_NUMBER: _ClassVar[int]
    port: int
    socket_name: str
    def __init__(self, port: _Optional[int] = ..., socket_name: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol_version", "cluster_id", "member_id", "member_name", "partitions", "payload_bytes_max", "in_flight_max")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_NAME_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_MAX_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    cluster_id: str
    member_id: int
    member_name: str
    partitions: int
    payload_bytes_max: int
    in_flight_max: int
    def __init__(self, protocol_version: _Optional[int] = ..., cluster_id: _Optional[str] = ..., member_id: _Optional[int] = ..., member_name: _Optional[str] = ..., partitions: _Optional[int] = ..., payload_bytes_max: _Optional[int] = ..., in_flight_max: _Optional[int] = ...) -> None: ...

class WorkerFrame(_message.Message):
    __slots__ = ("hello", "started", "results", "released", "closing")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    started: _containers.RepeatedCompositeFieldContainer[Started]
    results: Results
    released: _containers.RepeatedCompositeFieldContainer[Released]
    closing: bool
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., started: _Optional[_Iterable[_Union[Started, _Mapping]]] = ..., results: _Optional[_Union[Results, _Mapping]] = ..., released: _Optional[_Iterable[_Union[Released, _Mapping]]] = ..., closing: _Optional[bool] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol_version", "name", "credits", "partition_credits")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    PARTITION_CREDITS_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    name: str
    credits: int
    partition_credits: int
    def __init__(self, protocol_version: _Optional[int] = ..., name: _Optional[str] = ..., credits: _Optional[int] = ..., partition_credits: _Optional[int] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("partition", "epoch")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    partition: int
    epoch: int
    def __init__(self, partition: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class Released(_message.Message):
    __slots__ = ("partition", "epoch")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    partition: int
    epoch: int
    def __init__(self, partition: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class Results(_message.Message):
    __slots__ = ("id", "payload", "errors")
    ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    id: _containers.RepeatedScalarFieldContainer[int]
    payload: _containers.RepeatedScalarFieldContainer[bytes]
    errors: _containers.RepeatedCompositeFieldContainer[_errors_pb2.ItemError]
    def __init__(self, id: _Optional[_Iterable[int]] = ..., payload: _Optional[_Iterable[bytes]] = ..., errors: _Optional[_Iterable[_Union[_errors_pb2.ItemError, _Mapping]]] = ...) -> None: ...

class SidecarFrame(_message.Message):
    __slots__ = ("welcome", "lease", "assign", "deliver", "cancel", "revoke", "closed")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ASSIGN_FIELD_NUMBER: _ClassVar[int]
    DELIVER_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    REVOKE_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    lease: Lease
    assign: _containers.RepeatedCompositeFieldContainer[Assign]
    deliver: Deliver
    cancel: _containers.RepeatedCompositeFieldContainer[Cancel]
    revoke: _containers.RepeatedCompositeFieldContainer[Revoke]
    closed: str
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ..., assign: _Optional[_Iterable[_Union[Assign, _Mapping]]] = ..., deliver: _Optional[_Union[Deliver, _Mapping]] = ..., cancel: _Optional[_Iterable[_Union[Cancel, _Mapping]]] = ..., revoke: _Optional[_Iterable[_Union[Revoke, _Mapping]]] = ..., closed: _Optional[str] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("until_boottime_ms",)
    UNTIL_BOOTTIME_MS_FIELD_NUMBER: _ClassVar[int]
    until_boottime_ms: int
    def __init__(self, until_boottime_ms: _Optional[int] = ...) -> None: ...

class Assign(_message.Message):
    __slots__ = ("partition", "epoch")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    partition: int
    epoch: int
    def __init__(self, partition: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class Revoke(_message.Message):
    __slots__ = ("partition", "epoch", "within_ms")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    WITHIN_MS_FIELD_NUMBER: _ClassVar[int]
    partition: int
    epoch: int
    within_ms: int
    def __init__(self, partition: _Optional[int] = ..., epoch: _Optional[int] = ..., within_ms: _Optional[int] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("partition", "epoch")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    partition: int
    epoch: int
    def __init__(self, partition: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class Deliver(_message.Message):
    __slots__ = ("id", "partition", "epoch", "key", "payload", "timeout_ms", "headers_at", "headers")
    ID_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_AT_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    id: _containers.RepeatedScalarFieldContainer[int]
    partition: _containers.RepeatedScalarFieldContainer[int]
    epoch: _containers.RepeatedScalarFieldContainer[int]
    key: _containers.RepeatedScalarFieldContainer[bytes]
    payload: _containers.RepeatedScalarFieldContainer[bytes]
    timeout_ms: _containers.RepeatedScalarFieldContainer[int]
    headers_at: _containers.RepeatedScalarFieldContainer[int]
    headers: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, id: _Optional[_Iterable[int]] = ..., partition: _Optional[_Iterable[int]] = ..., epoch: _Optional[_Iterable[int]] = ..., key: _Optional[_Iterable[bytes]] = ..., payload: _Optional[_Iterable[bytes]] = ..., timeout_ms: _Optional[_Iterable[int]] = ..., headers_at: _Optional[_Iterable[int]] = ..., headers: _Optional[_Iterable[bytes]] = ...) -> None: ...
