from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AppStreamKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APP_STREAM_KIND_UNSPECIFIED: _ClassVar[AppStreamKind]
    APP_STREAM_KIND_SEND: _ClassVar[AppStreamKind]
    APP_STREAM_KIND_WORKER: _ClassVar[AppStreamKind]
    APP_STREAM_KIND_KV: _ClassVar[AppStreamKind]
APP_STREAM_KIND_UNSPECIFIED: AppStreamKind
APP_STREAM_KIND_SEND: AppStreamKind
APP_STREAM_KIND_WORKER: AppStreamKind
APP_STREAM_KIND_KV: AppStreamKind

class AppStreamHello(_message.Message):
    __slots__ = ("kind", "first")
    KIND_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    kind: AppStreamKind
    first: bytes
    def __init__(self, kind: _Optional[_Union[AppStreamKind, str]] = ..., first: _Optional[bytes] = ...) -> None: ...
