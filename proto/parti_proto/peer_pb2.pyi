from parti_proto import errors_pb2 as _errors_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StreamKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STREAM_KIND_UNSPECIFIED: _ClassVar[StreamKind]
    STREAM_KIND_FRAMES: _ClassVar[StreamKind]
    STREAM_KIND_FORWARD: _ClassVar[StreamKind]
STREAM_KIND_UNSPECIFIED: StreamKind
STREAM_KIND_FRAMES: StreamKind
STREAM_KIND_FORWARD: StreamKind

class Handshake(_message.Message):
    __slots__ = ("protocol_version", "cluster_id", "from_member", "to_member", "from_address", "incarnation")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_MEMBER_FIELD_NUMBER: _ClassVar[int]
    TO_MEMBER_FIELD_NUMBER: _ClassVar[int]
    FROM_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    cluster_id: str
    from_member: int
    to_member: int
    from_address: str
    incarnation: int
    def __init__(self, protocol_version: _Optional[int] = ..., cluster_id: _Optional[str] = ..., from_member: _Optional[int] = ..., to_member: _Optional[int] = ..., from_address: _Optional[str] = ..., incarnation: _Optional[int] = ...) -> None: ...

class StreamPortRequest(_message.Message):
    __slots__ = ("handshake",)
    HANDSHAKE_FIELD_NUMBER: _ClassVar[int]
    handshake: Handshake
    def __init__(self, handshake: _Optional[_Union[Handshake, _Mapping]] = ...) -> None: ...

class StreamPortReply(_message.Message):
    __slots__ = ("port",)
    PORT_FIELD_NUMBER: _ClassVar[int]
    port: int
    def __init__(self, port: _Optional[int] = ...) -> None: ...

class StreamHello(_message.Message):
    __slots__ = ("handshake", "kind")
    HANDSHAKE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    handshake: Handshake
    kind: StreamKind
    def __init__(self, handshake: _Optional[_Union[Handshake, _Mapping]] = ..., kind: _Optional[_Union[StreamKind, str]] = ...) -> None: ...

class PeerFrame(_message.Message):
    __slots__ = ("raft", "session")
    RAFT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    raft: _containers.RepeatedScalarFieldContainer[bytes]
    session: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, raft: _Optional[_Iterable[bytes]] = ..., session: _Optional[_Iterable[bytes]] = ...) -> None: ...

class SnapshotChunk(_message.Message):
    __slots__ = ("handshake", "message", "size_bytes", "crc32c", "offset", "data")
    HANDSHAKE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    handshake: Handshake
    message: bytes
    size_bytes: int
    crc32c: int
    offset: int
    data: bytes
    def __init__(self, handshake: _Optional[_Union[Handshake, _Mapping]] = ..., message: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., crc32c: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class SnapshotReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SnapshotOffsetRequest(_message.Message):
    __slots__ = ("handshake", "index", "term", "size_bytes", "crc32c")
    HANDSHAKE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    handshake: Handshake
    index: int
    term: int
    size_bytes: int
    crc32c: int
    def __init__(self, handshake: _Optional[_Union[Handshake, _Mapping]] = ..., index: _Optional[int] = ..., term: _Optional[int] = ..., size_bytes: _Optional[int] = ..., crc32c: _Optional[int] = ...) -> None: ...

class SnapshotOffsetReply(_message.Message):
    __slots__ = ("offset",)
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    offset: int
    def __init__(self, offset: _Optional[int] = ...) -> None: ...

class ForwardFrame(_message.Message):
    __slots__ = ("id", "partition", "epoch", "key", "payload", "timeout_ms", "headers_at", "headers", "ping_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_AT_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    PING_AT_FIELD_NUMBER: _ClassVar[int]
    id: _containers.RepeatedScalarFieldContainer[int]
    partition: _containers.RepeatedScalarFieldContainer[int]
    epoch: _containers.RepeatedScalarFieldContainer[int]
    key: _containers.RepeatedScalarFieldContainer[bytes]
    payload: _containers.RepeatedScalarFieldContainer[bytes]
    timeout_ms: _containers.RepeatedScalarFieldContainer[int]
    headers_at: _containers.RepeatedScalarFieldContainer[int]
    headers: _containers.RepeatedScalarFieldContainer[bytes]
    ping_at: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, id: _Optional[_Iterable[int]] = ..., partition: _Optional[_Iterable[int]] = ..., epoch: _Optional[_Iterable[int]] = ..., key: _Optional[_Iterable[bytes]] = ..., payload: _Optional[_Iterable[bytes]] = ..., timeout_ms: _Optional[_Iterable[int]] = ..., headers_at: _Optional[_Iterable[int]] = ..., headers: _Optional[_Iterable[bytes]] = ..., ping_at: _Optional[_Iterable[int]] = ...) -> None: ...

class ForwardResults(_message.Message):
    __slots__ = ("id", "epoch", "payload", "errors")
    ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    id: _containers.RepeatedScalarFieldContainer[int]
    epoch: _containers.RepeatedScalarFieldContainer[int]
    payload: _containers.RepeatedScalarFieldContainer[bytes]
    errors: _containers.RepeatedCompositeFieldContainer[_errors_pb2.ItemError]
    def __init__(self, id: _Optional[_Iterable[int]] = ..., epoch: _Optional[_Iterable[int]] = ..., payload: _Optional[_Iterable[bytes]] = ..., errors: _Optional[_Iterable[_Union[_errors_pb2.ItemError, _Mapping]]] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("protocol_version", "cluster_id", "member_id", "name", "address", "zone")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    cluster_id: str
    member_id: int
    name: str
    address: str
    zone: str
    def __init__(self, protocol_version: _Optional[int] = ..., cluster_id: _Optional[str] = ..., member_id: _Optional[int] = ..., name: _Optional[str] = ..., address: _Optional[str] = ..., zone: _Optional[str] = ...) -> None: ...

class JoinReply(_message.Message):
    __slots__ = ("cluster_id", "peers", "incarnation")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    peers: _containers.RepeatedCompositeFieldContainer[JoinPeer]
    incarnation: int
    def __init__(self, cluster_id: _Optional[str] = ..., peers: _Optional[_Iterable[_Union[JoinPeer, _Mapping]]] = ..., incarnation: _Optional[int] = ...) -> None: ...

class JoinPeer(_message.Message):
    __slots__ = ("member_id", "address")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    address: str
    def __init__(self, member_id: _Optional[int] = ..., address: _Optional[str] = ...) -> None: ...
