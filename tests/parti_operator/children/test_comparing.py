"""A stored object is as wanted; after any edit of what the operator wants it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_operator.children import children, differs
from tests.parti_operator import samples
from tests.parti_operator.children.golden import SAMPLES
from tests.parti_operator.children.stored import stored
from tests.parti_operator.defaults import TEMPLATE, cluster_spec

Path = tuple[str | int, ...]


def wanted_children() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{sample}-{wanted['kind']}-{wanted['metadata']['name']}", wanted)
        for sample, cluster in SAMPLES.items()
        for wanted in children(cluster(), replicas=3, optional_kinds={"PodMonitor"})
    ]


CHILDREN = wanted_children()
IDS = [name for name, _ in CHILDREN]
OBJECTS = [wanted for _, wanted in CHILDREN]


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every place inside `value`."""
    steps: Any = value.items() if isinstance(value, dict) else enumerate(value)
    for step, inner in steps:
        yield (*at, step)
        if isinstance(inner, dict | list):
            yield from paths(inner, (*at, step))


def look_up(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def edited(live: dict[str, Any], path: Path, edit: Callable[[Any, Any], None]) -> dict[str, Any]:
    """A copy of `live` after `edit(parent, last step)`."""
    copy = deepcopy(live)
    edit(look_up(copy, path[:-1]), path[-1])
    return copy


def other(value: Any) -> Any:
    """Something else of the same type."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return f"{value}x"
        case _:
            return "other"


def remove(parent: Any, step: Any) -> None:
    del parent[step]


def change(parent: Any, step: Any) -> None:
    parent[step] = other(parent[step])


@pytest.mark.parametrize("wanted", OBJECTS, ids=IDS)
def test_a_stored_object_is_as_wanted(wanted: dict[str, Any]) -> None:
    assert not differs(wanted, stored(wanted))


@pytest.mark.parametrize("wanted", OBJECTS, ids=IDS)
def test_every_change_of_a_wanted_field_is_noticed(wanted: dict[str, Any]) -> None:
    live = stored(wanted)
    for path in paths(wanted):
        if reaches(live, path):
            assert differs(wanted, edited(live, path, change)), path


@pytest.mark.parametrize("wanted", OBJECTS, ids=IDS)
def test_every_loss_of_a_wanted_field_is_noticed(wanted: dict[str, Any]) -> None:
    live = stored(wanted)
    for path in paths(wanted):
        if reaches(live, path):
            assert differs(wanted, edited(live, path, remove)), path


@pytest.mark.parametrize("wanted", OBJECTS, ids=IDS)
def test_every_addition_to_a_wanted_list_is_noticed(wanted: dict[str, Any]) -> None:
    live = stored(wanted)
    for path in paths(wanted):
        if reaches(live, path) and isinstance(look_up(live, path), list):
            grown = edited(live, path, lambda parent, step: parent[step].append({"name": "x"}))
            assert differs(wanted, grown), path


def reaches(live: dict[str, Any], path: Path) -> bool:
    """Whether the API server has kept the field."""
    try:
        look_up(live, path)
    except (KeyError, IndexError):
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Service", ("spec", "selector")),
        ("StatefulSet", ("spec", "selector", "matchLabels")),
        ("StatefulSet", ("spec", "template", "spec", "nodeSelector")),
        ("PodDisruptionBudget", ("spec", "selector")),
        ("NetworkPolicy", ("spec", "podSelector")),
    ],
)
def test_an_addition_to_a_selector_is_noticed(kind: str, path: Path) -> None:
    wanted = next(one for one in children(samples.full(), replicas=3) if one["kind"] == kind)
    live = edited(stored(wanted), path, lambda parent, step: parent[step].update(more={"a": "b"}))
    assert differs(wanted, live)


def test_an_addition_of_somebody_else_elsewhere_is_left_alone() -> None:
    wanted = children(samples.full(), replicas=3)[-1]
    live = stored(wanted)
    live["metadata"]["labels"]["theirs"] = "x"
    live["metadata"]["annotations"]["theirs"] = "x"
    live["metadata"]["finalizers"] = ["theirs"]
    live["spec"]["template"]["spec"]["hostPID"] = True
    assert not differs(wanted, live)


ODD_FIELDS: list[dict[str, Any]] = [
    {"hostNetwork": False, "volumes": [], "nodeSelector": {}},
    {"tolerations": None, "shareProcessNamespace": False},
    {"containers": [{"name": "a", "image": "a", "env": [], "tty": False, "ports": []}]},
    {"containers": [{"name": "a", "image": "a", "env": [{"name": "E", "value": ""}]}]},
    {"containers": [{"name": "a", "image": "a", "resources": {"limits": {}}}]},
    {"containers": [{"name": "a", "image": "a", "resources": {"requests": {"cpu": 0.25}}}]},
    {"containers": [{"name": "a", "image": "a", "resources": {"requests": {"cpu": "1000m"}}}]},
    {"containers": [{"name": "a", "image": "a", "livenessProbe": {"timeoutSeconds": 0}}]},
    {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1024Mi"}}]},
    {"tolerations": [{"key": "k", "tolerationSeconds": 0}]},
]


@pytest.mark.parametrize("fields", ODD_FIELDS, ids=str)
def test_odd_ways_to_say_the_same_are_as_wanted(fields: dict[str, Any]) -> None:
    cluster = cluster_spec(template={"spec": {**TEMPLATE["spec"], **fields}})
    wanted = children(cluster, replicas=3)[-1]
    assert not differs(wanted, stored(wanted))


@pytest.mark.parametrize(
    ("fields", "edit"),
    [
        # A zero that was wanted and is not zero any more.
        ({"hostNetwork": False}, {"hostNetwork": True}),
        ({"nodeSelector": {}}, {"nodeSelector": {"a": "b"}}),
        ({"volumes": [{"name": "v", "emptyDir": {}}]}, {"volumes": [{"name": "v"}]}),
        ({"tolerations": []}, {"tolerations": [{"operator": "Exists"}]}),
        # A zero that means something, and is gone.
        ({"shareProcessNamespace": False}, {"shareProcessNamespace": None}),
    ],
    ids=str,
)
def test_a_zero_is_wanted_like_any_other_value(
    fields: dict[str, Any], edit: dict[str, Any]
) -> None:
    cluster = cluster_spec(template={"spec": {**TEMPLATE["spec"], **fields}})
    wanted = children(cluster, replicas=3)[-1]
    live = stored(wanted)
    for name, value in edit.items():
        if name == "volumes":
            live["spec"]["template"]["spec"][name][:1] = value
        else:
            live["spec"]["template"]["spec"][name] = value
    assert differs(wanted, live)


def test_true_is_not_one_and_text_is_not_a_number() -> None:
    assert differs({"a": True}, {"a": 1})
    assert differs({"a": 1}, {"a": True})
    assert differs({"a": "1"}, {"a": 1})
    assert differs({"limits": {"cpu": 1}}, {"limits": {"cpu": "2"}})
    assert not differs({"limits": {"cpu": 1}}, {"limits": {"cpu": "1000m"}})
    assert differs({"value": "1000m"}, {"value": "1"}), "no quantity outside of resources"
    assert differs({"args": ["1000m"]}, {"args": ["1"]})


def test_null_asks_for_nothing() -> None:
    assert not differs({"a": None}, {})
    assert not differs({"a": None}, {"a": 1})


def test_shapes_that_do_not_match_differ() -> None:
    for one, another in (({}, []), ([1], {"0": 1}), ("ab", ["a", "b"]), ([1], "1")):
        assert differs({"a": one}, {"a": another})


KEYS = st.sampled_from(["name", "env", "labels", "spec", "replicas", "hostNetwork"])
VALUES = st.recursive(
    st.one_of(st.integers(1, 9), st.text(min_size=1, max_size=3), st.just(value=True)),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3), st.dictionaries(KEYS, inner, min_size=1)
    ),
    max_leaves=12,
)
TREES = st.dictionaries(KEYS, VALUES, min_size=1)


@given(TREES)
def test_anything_is_as_itself(tree: dict[str, Any]) -> None:
    assert not differs(tree, deepcopy(tree))


@given(TREES, st.data())
def test_any_tree_with_additions_is_as_wanted_and_with_changes_it_is_not(
    tree: dict[str, Any], data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(list(paths(tree))))
    more = deepcopy(tree)
    for at in [(), *paths(tree)]:
        inner = look_up(more, at)
        if isinstance(inner, dict):
            inner["added"] = {"by": "somebody else"}
    assert not differs(tree, more)
    assert differs(tree, edited(more, path, change))
    assert differs(tree, edited(more, path, remove))
