from parti_proto import app_pb2 as _app_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Intent(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INTENT_NONE: _ClassVar[Intent]
    INTENT_CORDON: _ClassVar[Intent]
    INTENT_DRAIN: _ClassVar[Intent]
    INTENT_REMOVE: _ClassVar[Intent]
INTENT_NONE: Intent
INTENT_CORDON: Intent
INTENT_DRAIN: Intent
INTENT_REMOVE: Intent

class Policy(_message.Message):
    __slots__ = ("strategy", "rebalance", "moves_in_flight_max", "partition_cooldown_ms", "coalesce_quiet_ms", "coalesce_max_ms", "voters_max", "voter_replace_after_ms", "move_deadline_ms", "load_aware")
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    REBALANCE_FIELD_NUMBER: _ClassVar[int]
    MOVES_IN_FLIGHT_MAX_FIELD_NUMBER: _ClassVar[int]
    PARTITION_COOLDOWN_MS_FIELD_NUMBER: _ClassVar[int]
    COALESCE_QUIET_MS_FIELD_NUMBER: _ClassVar[int]
    COALESCE_MAX_MS_FIELD_NUMBER: _ClassVar[int]
    VOTERS_MAX_FIELD_NUMBER: _ClassVar[int]
    VOTER_REPLACE_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    MOVE_DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    LOAD_AWARE_FIELD_NUMBER: _ClassVar[int]
    strategy: str
    rebalance: bool
    moves_in_flight_max: int
    partition_cooldown_ms: int
    coalesce_quiet_ms: int
    coalesce_max_ms: int
    voters_max: int
    voter_replace_after_ms: int
    move_deadline_ms: int
    load_aware: bool
    def __init__(self, strategy: _Optional[str] = ..., rebalance: _Optional[bool] = ..., moves_in_flight_max: _Optional[int] = ..., partition_cooldown_ms: _Optional[int] = ..., coalesce_quiet_ms: _Optional[int] = ..., coalesce_max_ms: _Optional[int] = ..., voters_max: _Optional[int] = ..., voter_replace_after_ms: _Optional[int] = ..., move_deadline_ms: _Optional[int] = ..., load_aware: _Optional[bool] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Status(_message.Message):
    __slots__ = ("cluster_id", "member_id", "name", "version", "state", "raft_role", "term", "leader", "commit_index", "applied_index", "session", "lease_remaining_ms", "worker_attached", "partitions", "partitions_owned", "partitions_free", "partitions_revoking", "parked_messages", "in_flight_messages", "policy", "mode", "lease_ttl_ms", "drained", "apply_lag", "protocol_version", "config_index", "incarnation")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RAFT_ROLE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    LEASE_REMAINING_MS_FIELD_NUMBER: _ClassVar[int]
    WORKER_ATTACHED_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_OWNED_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FREE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_REVOKING_FIELD_NUMBER: _ClassVar[int]
    PARKED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    LEASE_TTL_MS_FIELD_NUMBER: _ClassVar[int]
    DRAINED_FIELD_NUMBER: _ClassVar[int]
    APPLY_LAG_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONFIG_INDEX_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    member_id: int
    name: str
    version: str
    state: str
    raft_role: str
    term: int
    leader: int
    commit_index: int
    applied_index: int
    session: int
    lease_remaining_ms: int
    worker_attached: bool
    partitions: int
    partitions_owned: int
    partitions_free: int
    partitions_revoking: int
    parked_messages: int
    in_flight_messages: int
    policy: Policy
    mode: str
    lease_ttl_ms: int
    drained: bool
    apply_lag: int
    protocol_version: int
    config_index: int
    incarnation: int
    def __init__(self, cluster_id: _Optional[str] = ..., member_id: _Optional[int] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., state: _Optional[str] = ..., raft_role: _Optional[str] = ..., term: _Optional[int] = ..., leader: _Optional[int] = ..., commit_index: _Optional[int] = ..., applied_index: _Optional[int] = ..., session: _Optional[int] = ..., lease_remaining_ms: _Optional[int] = ..., worker_attached: _Optional[bool] = ..., partitions: _Optional[int] = ..., partitions_owned: _Optional[int] = ..., partitions_free: _Optional[int] = ..., partitions_revoking: _Optional[int] = ..., parked_messages: _Optional[int] = ..., in_flight_messages: _Optional[int] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., mode: _Optional[str] = ..., lease_ttl_ms: _Optional[int] = ..., drained: _Optional[bool] = ..., apply_lag: _Optional[int] = ..., protocol_version: _Optional[int] = ..., config_index: _Optional[int] = ..., incarnation: _Optional[int] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("member_id", "name", "address", "zone", "role", "leader", "session", "intent", "draining", "ready", "capacity", "partitions_owned", "match_index", "last_heard_ms", "version", "caught_up", "set_zone", "set_capacity")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_OWNED_FIELD_NUMBER: _ClassVar[int]
    MATCH_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_MS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    SET_ZONE_FIELD_NUMBER: _ClassVar[int]
    SET_CAPACITY_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    name: str
    address: str
    zone: str
    role: str
    leader: bool
    session: int
    intent: Intent
    draining: bool
    ready: bool
    capacity: int
    partitions_owned: int
    match_index: int
    last_heard_ms: int
    version: str
    caught_up: bool
    set_zone: str
    set_capacity: int
    def __init__(self, member_id: _Optional[int] = ..., name: _Optional[str] = ..., address: _Optional[str] = ..., zone: _Optional[str] = ..., role: _Optional[str] = ..., leader: _Optional[bool] = ..., session: _Optional[int] = ..., intent: _Optional[_Union[Intent, str]] = ..., draining: _Optional[bool] = ..., ready: _Optional[bool] = ..., capacity: _Optional[int] = ..., partitions_owned: _Optional[int] = ..., match_index: _Optional[int] = ..., last_heard_ms: _Optional[int] = ..., version: _Optional[str] = ..., caught_up: _Optional[bool] = ..., set_zone: _Optional[str] = ..., set_capacity: _Optional[int] = ...) -> None: ...

class ListMembersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListMembersReply(_message.Message):
    __slots__ = ("members", "table_index", "config_index")
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    TABLE_INDEX_FIELD_NUMBER: _ClassVar[int]
    CONFIG_INDEX_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[Member]
    table_index: int
    config_index: int
    def __init__(self, members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., table_index: _Optional[int] = ..., config_index: _Optional[int] = ...) -> None: ...

class ListPartitionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPartitionsReply(_message.Message):
    __slots__ = ("partitions", "member_names", "table_index")
    class MemberNamesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    MEMBER_NAMES_FIELD_NUMBER: _ClassVar[int]
    TABLE_INDEX_FIELD_NUMBER: _ClassVar[int]
    partitions: _containers.RepeatedCompositeFieldContainer[_app_pb2.PartitionState]
    member_names: _containers.ScalarMap[int, str]
    table_index: int
    def __init__(self, partitions: _Optional[_Iterable[_Union[_app_pb2.PartitionState, _Mapping]]] = ..., member_names: _Optional[_Mapping[int, str]] = ..., table_index: _Optional[int] = ...) -> None: ...

class ExplainPartitionRequest(_message.Message):
    __slots__ = ("partition",)
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    partition: int
    def __init__(self, partition: _Optional[int] = ...) -> None: ...

class PartitionChange(_message.Message):
    __slots__ = ("index", "at_unix_ms", "change", "member", "epoch", "cause")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    index: int
    at_unix_ms: int
    change: str
    member: int
    epoch: int
    cause: str
    def __init__(self, index: _Optional[int] = ..., at_unix_ms: _Optional[int] = ..., change: _Optional[str] = ..., member: _Optional[int] = ..., epoch: _Optional[int] = ..., cause: _Optional[str] = ...) -> None: ...

class ExplainPartitionReply(_message.Message):
    __slots__ = ("state", "owner_name", "since_unix_ms", "explanation", "changes", "pinned_to")
    STATE_FIELD_NUMBER: _ClassVar[int]
    OWNER_NAME_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    PINNED_TO_FIELD_NUMBER: _ClassVar[int]
    state: _app_pb2.PartitionState
    owner_name: str
    since_unix_ms: int
    explanation: str
    changes: _containers.RepeatedCompositeFieldContainer[PartitionChange]
    pinned_to: int
    def __init__(self, state: _Optional[_Union[_app_pb2.PartitionState, _Mapping]] = ..., owner_name: _Optional[str] = ..., since_unix_ms: _Optional[int] = ..., explanation: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[PartitionChange, _Mapping]]] = ..., pinned_to: _Optional[int] = ...) -> None: ...

class PlanRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PlannedMove(_message.Message):
    __slots__ = ("partition", "from_member", "to_member", "cause")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    FROM_MEMBER_FIELD_NUMBER: _ClassVar[int]
    TO_MEMBER_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    partition: int
    from_member: int
    to_member: int
    cause: str
    def __init__(self, partition: _Optional[int] = ..., from_member: _Optional[int] = ..., to_member: _Optional[int] = ..., cause: _Optional[str] = ...) -> None: ...

class PlanReply(_message.Message):
    __slots__ = ("moves", "member_names", "explanation")
    class MemberNamesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    MOVES_FIELD_NUMBER: _ClassVar[int]
    MEMBER_NAMES_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    moves: _containers.RepeatedCompositeFieldContainer[PlannedMove]
    member_names: _containers.ScalarMap[int, str]
    explanation: str
    def __init__(self, moves: _Optional[_Iterable[_Union[PlannedMove, _Mapping]]] = ..., member_names: _Optional[_Mapping[int, str]] = ..., explanation: _Optional[str] = ...) -> None: ...

class BootstrapRequest(_message.Message):
    __slots__ = ("cluster_id", "partitions", "policy", "lease_ttl_ms")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    LEASE_TTL_MS_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    partitions: int
    policy: Policy
    lease_ttl_ms: int
    def __init__(self, cluster_id: _Optional[str] = ..., partitions: _Optional[int] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., lease_ttl_ms: _Optional[int] = ...) -> None: ...

class BootstrapReply(_message.Message):
    __slots__ = ("cluster_id",)
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    def __init__(self, cluster_id: _Optional[str] = ...) -> None: ...

class SetIntentRequest(_message.Message):
    __slots__ = ("member_id", "intent", "expected_config_index")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CONFIG_INDEX_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    intent: Intent
    expected_config_index: int
    def __init__(self, member_id: _Optional[int] = ..., intent: _Optional[_Union[Intent, str]] = ..., expected_config_index: _Optional[int] = ...) -> None: ...

class SetIntentReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MoveRequest(_message.Message):
    __slots__ = ("partition", "to_member", "expected_config_index")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TO_MEMBER_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CONFIG_INDEX_FIELD_NUMBER: _ClassVar[int]
    partition: int
    to_member: int
    expected_config_index: int
    def __init__(self, partition: _Optional[int] = ..., to_member: _Optional[int] = ..., expected_config_index: _Optional[int] = ...) -> None: ...

class MoveReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TransferLeaderRequest(_message.Message):
    __slots__ = ("to_member", "expected_config_index")
    TO_MEMBER_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CONFIG_INDEX_FIELD_NUMBER: _ClassVar[int]
    to_member: int
    expected_config_index: int
    def __init__(self, to_member: _Optional[int] = ..., expected_config_index: _Optional[int] = ...) -> None: ...

class TransferLeaderReply(_message.Message):
    __slots__ = ("leader",)
    LEADER_FIELD_NUMBER: _ClassVar[int]
    leader: int
    def __init__(self, leader: _Optional[int] = ...) -> None: ...

class SetPolicyRequest(_message.Message):
    __slots__ = ("policy", "expected_config_index")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CONFIG_INDEX_FIELD_NUMBER: _ClassVar[int]
    policy: Policy
    expected_config_index: int
    def __init__(self, policy: _Optional[_Union[Policy, _Mapping]] = ..., expected_config_index: _Optional[int] = ...) -> None: ...

class SetPolicyReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SetMemberRequest(_message.Message):
    __slots__ = ("member_id", "zone", "capacity", "expected_config_index")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CONFIG_INDEX_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    zone: str
    capacity: int
    expected_config_index: int
    def __init__(self, member_id: _Optional[int] = ..., zone: _Optional[str] = ..., capacity: _Optional[int] = ..., expected_config_index: _Optional[int] = ...) -> None: ...

class SetMemberReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PrepareToStopRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PrepareToStopReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ForceNewQuorumRequest(_message.Message):
    __slots__ = ("cluster_id", "incarnation")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    incarnation: int
    def __init__(self, cluster_id: _Optional[str] = ..., incarnation: _Optional[int] = ...) -> None: ...

class ForceNewQuorumReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PingRequest(_message.Message):
    __slots__ = ("partition",)
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    partition: int
    def __init__(self, partition: _Optional[int] = ...) -> None: ...

class PingReply(_message.Message):
    __slots__ = ("owner", "owner_name", "epoch", "hops", "microseconds")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    OWNER_NAME_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    MICROSECONDS_FIELD_NUMBER: _ClassVar[int]
    owner: int
    owner_name: str
    epoch: int
    hops: int
    microseconds: int
    def __init__(self, owner: _Optional[int] = ..., owner_name: _Optional[str] = ..., epoch: _Optional[int] = ..., hops: _Optional[int] = ..., microseconds: _Optional[int] = ...) -> None: ...
