"""What the generated references have to hold; that they are not stale is tests/unit/test_references.py."""

import json
import re
from typing import Any

import jsonschema
import pytest

from core import events, topics
from infra import reference_apis, reference_cli
from serving.gateway.access import ROUTES


@pytest.fixture(scope="module")
def asyncapi() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(reference_apis.asyncapi())
    return document


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(reference_apis.openapi())
    return document


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(value) for value in part.values()))
    return set().union(*(references(value) for value in part)) if isinstance(part, list) else set()


def resolve(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found


def test_every_topic_is_a_channel_with_its_partitions_and_somebody_who_uses_it(asyncapi: dict[str, Any]) -> None:
    channels = {channel["address"]: channel for channel in asyncapi["channels"].values()}
    assert set(channels) == set(topics.BY_NAME)
    for name, topic in topics.BY_NAME.items():
        assert channels[name]["bindings"]["kafka"]["partitions"] == topic.partitions
    used = {operation["channel"]["$ref"] for operation in asyncapi["operations"].values()}
    assert used == {f"#/channels/{name}" for name in asyncapi["channels"]}


@pytest.mark.parametrize("document", ["asyncapi", "openapi"])
def test_every_reference_leads_somewhere(document: str, request: pytest.FixtureRequest) -> None:
    described = request.getfixturevalue(document)
    assert references(described)
    for reference in references(described):
        assert resolve(described, reference) is not None


def test_the_schema_of_a_message_takes_an_event_and_refuses_another(asyncapi: dict[str, Any]) -> None:
    event = {
        "specversion": "1.0",
        "id": "evt-1",
        "source": "app",
        "type": "riverlight.interaction.click",
        "time": "2026-11-22T10:00:00Z",
        "subject": "u1",
        "data": {"user_id": "u1", "item_id": "i1", "surface": "home", "position": 0},
    }
    events.decode(json.dumps(event).encode(), "interactions")
    schema = {
        **asyncapi["components"]["messages"]["interactions-event"]["payload"],
        "components": asyncapi["components"],
    }
    frame = {
        **asyncapi["components"]["messages"]["interactions-frame"]["payload"],
        "components": asyncapi["components"],
    }
    jsonschema.validate(event, schema)
    jsonschema.validate([event, event], frame)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**event, "type": "riverlight.upload.created"}, schema)


def test_every_call_says_which_roles_may_make_it(openapi: dict[str, Any]) -> None:
    assert openapi["paths"]
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            roles = ROUTES[method.upper(), path][0]
            assert operation["security"] == ([] if roles is None else [{"token": sorted(roles)}])
    assert openapi["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_every_command_has_a_section_with_its_options() -> None:
    page = reference_cli.cli_page()
    sections = re.findall(r"^## `(riverlight [^`]+)`$", page, re.MULTILINE)
    assert {"riverlight up", "riverlight topics apply", "riverlight plan capacity", "riverlight serve"} <= set(sections)
    assert len(sections) == len(set(sections))
    worker = page.split("## `riverlight worker`")[1].split("\n## ")[0]
    assert "| `--agents <str>` | Agents, separated by commas" in worker
    for section in sections:  # the table of contents leads to each
        assert f"(#{section.replace(' ', '-')})" in page
