"""The README names what is there: files, targets, routes, policies, settings and limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import signature

import pytest
from fastapi import FastAPI

from service.api import (
    experiments,
    exports,
    hot_openapi,
    operations,
    privacy,
    quality,
    reports,
    sla,
    trail,
    webhooks,
)
from service.api.guard import DEFINITION_BYTES_MAX
from service.api.schemas import struct_components
from service.bandits.registry import POLICY_NAMES, make_policy
from service.domain import limits
from service.experiments.definition import PAYLOAD_DEPTH_MAX
from service.settings import Settings
from tests.architecture.sources import ROOT

README = (ROOT / "README.md").read_text()
DAY_SECONDS = 86_400


def section(title: str) -> str:
    """Return the text under a heading, up to the next one of its level or above."""
    level = title.partition(" ")[0]
    after = README.partition(f"\n{title}\n")[2]
    assert after, f"the README has no heading {title}"
    return re.split(rf"\n#{{1,{len(level)}}} ", after)[0]


def first_cells(text: str) -> list[str]:
    """Return the first cell of every row of the tables, without marks."""
    rows = re.findall(r"^\| (.+?) \|", text, re.MULTILINE)
    return [row.replace("`", "") for row in rows if row.startswith("`")]


def routes() -> Iterator[str]:
    app = FastAPI()
    rooms = (experiments, reports, quality, exports, operations, sla, trail, privacy, webhooks)
    for room in rooms:
        app.include_router(room.router)
    for path, operations_of in hot_openapi.describe(app.openapi())["paths"].items():
        for method in operations_of:
            yield f"{method.upper()} {path}"


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    plain = getattr(alias, "choices", None)
    return str(plain[0]) if plain else f"PROMOBANDIT_{name.upper()}"


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)

    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_exists() -> None:
    named = set(re.findall(r"`?make ([a-z]+)\b(?!=)", README))
    there = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert named <= there


def test_the_table_of_routes_is_the_openapi_document() -> None:
    assert sorted(first_cells(section("## HTTP contract").partition("\n### ")[0])) == sorted(
        routes()
    )


def test_the_table_of_policies_is_the_registry() -> None:
    assert tuple(first_cells(section("## Policies"))) == POLICY_NAMES


def test_the_defaults_of_policies_are_the_registrys() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section("## Policies"), re.MULTILINE)

    for name, parameters in rows:
        defaults = dict(re.findall(r"`(\w+)` \(([\d.]+)\)", parameters))
        made = make_policy(name, {"shares": [1.0]} if name == "fixed" else {})
        there = signature(type(made)).parameters.values()
        assert {key: float(value) for key, value in defaults.items()} == {
            each.name: each.default for each in there if each.name != "shares"
        }


def test_the_table_of_settings_is_the_settings() -> None:
    named = first_cells(section("## In production"))

    assert sorted(named) == sorted(variable(name) for name in Settings.model_fields)


@pytest.mark.parametrize(
    ("row", "values"),
    [
        ("`unit`, `occasion`", [limits.UNIT_LENGTH_MAX]),
        ("`unit`, `occasion`", [limits.OCCASION_LENGTH_MAX]),
        ("ids of experiments and variants", [limits.ID_LENGTH_MAX]),
        ("`event_id`", [limits.EVENT_ID_LENGTH_MAX]),
        ("`context`", [limits.CONTEXT_BYTES_MAX]),
        ("`payload`", [limits.PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX]),
        ("variants at once", [limits.VARIANTS_MAX]),
        ("variants in an experiment's life", [limits.VARIANTS_EVER_MAX]),
        ("events of an experiment", [limits.EVENTS_MAX]),
        ("units or rewards in a batch", [limits.BATCH_MAX]),
        ("body of `/choose` and `/reward`", [limits.BODY_BYTES_MAX]),
        ("body of a batch", [limits.BATCH_BODY_BYTES_MAX]),
        ("body of any other request", [DEFINITION_BYTES_MAX]),
        ("`X-Actor`", [64]),
        ("`reward.window`", [1, limits.WINDOW_SECONDS_MAX // DAY_SECONDS]),
        (
            "`evidence.half_life`",
            [limits.HALF_LIFE_SECONDS_MIN // 3_600, limits.HALF_LIFE_SECONDS_MAX // DAY_SECONDS],
        ),
    ],
)
def test_a_limit_is_the_one_that_is_enforced(row: str, values: list[int]) -> None:
    line = next(x for x in section("## Limits").splitlines() if x.startswith(f"| {row} |"))
    numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", line)]

    assert numbers == values


def test_every_field_of_the_bodies_is_explained() -> None:
    text = section("## HTTP contract")
    app = FastAPI()
    app.include_router(experiments.router)
    document = hot_openapi.describe(app.openapi())["components"]["schemas"] | struct_components()
    fields = {
        field
        for name, schema in document.items()
        if name not in ("HTTPValidationError", "ValidationError")  # FastAPI's; never sent.
        for field in schema.get("properties", ())
    }

    assert {field for field in fields if not re.search(rf'[`".]{field}\b', text)} == set()


def test_every_metric_it_names_is_in_the_catalogue() -> None:
    catalogue = (ROOT / "docs" / "metrics.md").read_text()
    named = set(re.findall(r"`(promobandit_\w+)`", README))

    assert {name for name in named if f"`{name}`" not in catalogue} == set()


def test_the_readme_names_no_directory_of_one_machine() -> None:
    assert re.findall(r"/(?:home|root|Users)/\S*", README) == []
