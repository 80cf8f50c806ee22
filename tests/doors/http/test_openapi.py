"""The OpenAPI document is whole: every route is in it and nothing else, every reference leads somewhere."""

from collections.abc import Iterator
from typing import Any

from starlette.routing import Route

from dropoff import errors
from dropoff.doors import verbs
from dropoff.doors.http import agents, operators, routes
from tests.doors.http.house import Desk


async def document(desk: Desk) -> dict[str, Any]:
    return await desk.as_agent("").seen("/v1/openapi.json")


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


async def test_every_route_is_in_it_and_nothing_else(desk: Desk):
    served = {
        (method, route.path)
        for route in routes.routes(_no_house())
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert set(operations(await document(desk))) == served


async def test_every_reference_leads_somewhere(desk: Desk):
    whole = await document(desk)
    found = set(references(whole))
    assert found
    assert {one.removeprefix("#/components/schemas/") for one in found} <= set(whole["components"]["schemas"])


async def test_operations_have_names_of_their_own_and_their_parameters(desk: Desk):
    found = operations(await document(desk))
    names = [one["operationId"] for one in found.values()]
    assert len(names) == len(set(names))
    for (method, path), operation in found.items():
        in_path = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        declared = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert declared == in_path, (method, path)
        assert all(one["required"] for one in operation.get("parameters", []) if one["in"] == "path")
        assert ("requestBody" in operation) == (method == "POST"), (method, path)
        assert operation["summary"], (method, path)


async def test_refusals_are_in_it_by_status_and_code(desk: Desk):
    """Each names codes of the table, under the status that the table has for them."""
    status_of = {row["code"]: str(row["http_status"]) for row in errors.table()}
    for where, operation in operations(await document(desk)).items():
        for status, response in operation["responses"].items():
            codes = [word for word in status_of if f"`{word}`" in response["description"]]
            assert bool(codes) == (status != "200"), where
            assert {status_of[code] for code in codes} <= {status}, where
        if operation.get("security") != []:
            assert {"401", "403", "422", "500", "503"} <= set(operation["responses"]), where


def test_every_verb_has_its_answer_and_its_errors():
    paths = {verb.path for verb in verbs.VERBS}
    assert set(agents.ANSWERS) == set(agents.ERRORS) == paths
    assert len({(row.method, row.path) for row in routes.rows()}) == len(paths) + 1 + len(operators.ROWS)  # and batch


def _no_house() -> Any:
    class Nobody:
        version = "0"

    return Nobody()
