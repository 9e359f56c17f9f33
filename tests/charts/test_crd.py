from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from parti_operator.names import ConditionType
from parti_sidecar.config import SETTINGS
from tests.charts import crd, crd_cases

_ROOT_PATHS = {"apiVersion", "kind", "metadata"}


def _complaints(resource: Mapping[str, Any]) -> list[str]:
    checker = jsonschema.Draft202012Validator(crd.schema())
    return [error.message for error in checker.iter_errors(resource)]


def _titles(case: crd_cases.Creation | crd_cases.Update) -> str:
    return case.title


@pytest.mark.parametrize("case", crd_cases.TAKEN, ids=_titles)
def test_good_resources_fit_the_schema(case: crd_cases.Creation) -> None:
    resource = crd_cases.resource(case.changes, case.name)
    assert _complaints(resource) == []
    assert crd.unknown_fields(resource["spec"], crd.schema()["properties"]["spec"], "spec") == []


@pytest.mark.parametrize("case", crd_cases.REFUSED_BY_SCHEMA, ids=_titles)
def test_bad_resources_do_not(case: crd_cases.Creation) -> None:
    assert len(_complaints(crd_cases.resource(case.changes, case.name))) == 1


@pytest.mark.parametrize("case", crd_cases.REFUSED_BY_RULES, ids=_titles)
def test_what_rules_refuse_is_nothing_that_the_schema_sees(case: crd_cases.Creation) -> None:
    assert _complaints(crd_cases.resource(case.changes, case.name)) == []


@pytest.mark.parametrize("case", crd_cases.UPDATES, ids=_titles)
def test_updates_start_and_end_with_what_fits_the_schema(case: crd_cases.Update) -> None:
    assert _complaints(crd_cases.resource(case.before)) == []
    assert _complaints(crd_cases.resource(case.changes)) == []


def test_every_rule_has_a_message_and_a_case_that_breaks_it() -> None:
    refusals = [case.refusal for case in (*crd_cases.CREATIONS, *crd_cases.UPDATES) if case.refusal]
    found = [rule for _, node in crd.nodes(crd.schema()) for rule in crd.rules(node)]
    assert len(found) > 30
    for rule in found:
        message = rule["message"]
        assert message[0].islower(), message
        assert not message.endswith("."), message
        assert any(refusal in message for refusal in refusals), f"no case breaks: {message}"


def test_refusals_by_rules_are_words_of_rules() -> None:
    messages = [rule["message"] for _, node in crd.nodes(crd.schema()) for rule in crd.rules(node)]
    by_rules = [case.refusal for case in crd_cases.REFUSED_BY_RULES]
    by_rules += [case.refusal for case in crd_cases.UPDATES if case.refusal]
    assert [text for text in by_rules if not any(text in message for message in messages)] == []


def test_every_field_is_described() -> None:
    silent = [
        path
        for path, node in crd.nodes(crd.schema())
        if "description" not in node
        if path not in _ROOT_PATHS and not path.endswith(("[]", ".*"))
    ]
    assert silent == []


def test_descriptions_are_sentences() -> None:
    for path, node in crd.nodes(crd.schema()):
        text = node.get("description", "")
        assert not text or (text[-1] == "." and "  " not in text), path


def test_lists_and_texts_that_rules_read_are_bounded() -> None:
    # The API server refuses rules whose cost it cannot bound.
    for path, node in crd.nodes(crd.schema()):
        if crd.rules(node) and node.get("type") == "string":
            assert "maxLength" in node, path


def test_objects_with_defaults_inside_are_there_without_being_written() -> None:
    for path, node in crd.nodes(crd.schema()["properties"]["spec"]):
        inner = node.get("properties", {}).values()
        if path and node.get("type") == "object" and any("default" in field for field in inner):
            assert node.get("default") == {}, path


def test_rules_do_not_stand_at_objects_whose_default_is_empty() -> None:
    # The API server checks a default before it fills in what is inside it. A rule that reads
    # fields without asking whether they are there makes it refuse the whole CRD.
    for path, node in crd.nodes(crd.schema()):
        if node.get("default") == {}:
            for rule in crd.rules(node):
                read = set(re.findall(r"self\.(\w+)", rule["rule"]))
                asked = set(re.findall(r"has\(self\.(\w+)\)", rule["rule"]))
                assert read == asked, path


def test_scale_and_status_are_subresources() -> None:
    assert crd.version()["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }


def test_columns_show_fields_that_exist() -> None:
    known = {f".{path}" for path, _ in crd.nodes(crd.schema())} | {".metadata.creationTimestamp"}
    columns = crd.version()["additionalPrinterColumns"]
    assert [one["jsonPath"] for one in columns if one["jsonPath"] not in known] == []
    assert [one["name"] for one in columns if not one.get("priority")] == [
        "Ready",
        "Phase",
        "Leader",
        "Partitions",
        "Moving",
        "Age",
    ]
    assert [one["name"] for one in columns if one.get("priority") == 1] == ["Version", "Term"]


def test_names_are_those_that_people_type() -> None:
    names = crd.definition()["spec"]["names"]
    assert names["shortNames"] == ["ptc"]
    assert names["categories"] == ["all", "parti"]


def test_conditions_are_those_of_the_operator() -> None:
    text = crd.schema()["properties"]["status"]["properties"]["conditions"]["description"]
    assert [name for name in ConditionType if name not in text] == []


def test_variables_that_are_refused_exist() -> None:
    sidecar = crd.schema()["properties"]["spec"]["properties"]["sidecar"]["properties"]
    [rule] = crd.rules(sidecar["env"]["items"]["properties"]["name"])
    refused = set(re.findall(r"'(PARTI_\w+)'", rule["rule"]))
    known = {setting.env_name for setting in SETTINGS} | {"PARTI_CONFIG"}
    assert refused - known == set()
