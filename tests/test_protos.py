"""Generated code is what the sources say, and Python's lists of words are those of the protocol."""

from __future__ import annotations

import shutil
from dataclasses import fields
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

import parti
import parti_shard.errors
from parti import _limits as sdk_limits
from parti import _pending as sdk_pending
from parti_proto import admin_pb2, app_pb2, errors_pb2
from parti_shard import ids, limits
from parti_shard.commands import Intent
from parti_shard.history import Change
from parti_shard.policy import Policy
from parti_shard.table import Phase
from tools import generate_protos


def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    fresh = tmp_path / "parti_proto"
    generate_protos.generate(fresh)
    assert generate_protos.differences(fresh) == []


def test_the_drift_check_notices_every_kind_of_difference(tmp_path: Path) -> None:
    fresh = tmp_path / "parti_proto"
    shutil.copytree(generate_protos.TARGET, fresh, ignore=shutil.ignore_patterns("*pycache*"))
    (fresh / "py.typed").unlink()
    assert generate_protos.differences(fresh) == []
    (fresh / "app_pb2.py").write_text("# changed by hand\n")
    (fresh / "peer_pb2.py").unlink()
    (fresh / "extra_pb2.py").write_text("")
    assert generate_protos.differences(fresh) == ["app_pb2.py", "extra_pb2.py", "peer_pb2.py"]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (parti.Reason, errors_pb2.Reason),
        (parti_shard.errors.Reason, errors_pb2.Reason),
        (parti.Executed, errors_pb2.Executed),
        (parti_shard.errors.Executed, errors_pb2.Executed),
        (parti.Phase, app_pb2.Phase),
        (Phase, app_pb2.Phase),
        (Intent, admin_pb2.Intent),
    ],
)
def test_enum_has_the_words_and_numbers_of_the_protocol(ours: type[IntEnum], theirs: Any) -> None:
    prefix = f"{theirs.DESCRIPTOR.name.upper()}_"
    assert {one.name: one.value for one in ours} == {
        name.removeprefix(prefix): number for name, number in theirs.items()
    }


def test_policy_has_the_fields_of_the_protocol() -> None:
    assert [field.name for field in fields(Policy)] == [
        field.name for field in admin_pb2.Policy.DESCRIPTOR.fields
    ]


def test_sdk_and_sidecar_count_with_the_same_numbers() -> None:
    router = limits.RouterLimits()
    assert sdk_limits.PROTOCOL_VERSION == limits.PROTOCOL_VERSION
    assert router.key_bytes_max == sdk_limits.KEY_BYTES_MAX
    assert router.headers_bytes_max == sdk_limits.HEADERS_BYTES_MAX
    assert router.timeout_ms_max == sdk_limits.TIMEOUT_MS_MAX
    assert router.frame_items_max >= sdk_limits.FRAME_ITEMS_MAX
    assert sdk_pending.BY_KEY == ids.BY_KEY


def test_the_protocol_text_names_the_number_that_means_by_key() -> None:
    text = (generate_protos.SOURCES / "parti" / "v1" / "app.proto").read_text()
    assert f"// {ids.BY_KEY}: by key" in text


def test_the_protocol_text_names_every_change_of_a_partition() -> None:
    text = (generate_protos.SOURCES / "parti" / "v1" / "admin.proto").read_text()
    assert f"// {', '.join(change.label for change in Change)}\n" in text
