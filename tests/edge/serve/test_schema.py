"""Requests by the hundred, made from /openapi.json, right and wrong ones: none is a fault of the server.

python -m tests.edge.serve.test_schema 2000 asks as many.
"""

import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from schemathesis import Case, GenerationMode, openapi
from schemathesis.checks import CHECKS, load_all_checks

from sa3_edge.serve.settings import Settings
from tests.edge.serve.conftest import Running, running

_ENDLESS = ("/v1/events", "/v1/generations/{id}/events")
_CASES = 300  # in the tests
_TIMES = ("seconds", "duration_seconds", "extend", "prepend", "headroom", "steps")


def ask(served: Running, cases: int) -> tuple[int, set[int]]:
    """Ask at least so many times -> how often, and the statuses of the answers."""
    load_all_checks()
    names = ["not_a_server_error", "content_type_conformance", "response_schema_conformance"]
    checks: list[Any] = list(CHECKS.get_by_names(names))
    schema = openapi.from_url(f"{served.url}/openapi.json")
    found: list[Any] = [each.ok() for each in schema.get_all_operations()]  # type: ignore[union-attr]
    operations = [operation for operation in found if operation.path not in _ENDLESS]
    ways = []
    for operation in operations:
        ways.append((operation, GenerationMode.POSITIVE))
        if {"parameters", "requestBody"} & operation.definition.raw.keys():
            ways.append((operation, GenerationMode.NEGATIVE))
    asked, statuses = 0, set()
    # An operation that takes little is asked all there is to ask, so that a second round goes to the others.
    for again in itertools.count():
        if asked >= cases:
            break
        share = -(-(cases - asked) // len(ways))
        for operation, mode in ways:

            @seed(again)
            @settings(max_examples=share, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(operation.as_strategy(generation_mode=mode))
            def answered(case: Case[Any]) -> None:
                nonlocal asked
                asked += 1
                case.body = _short(case.body)
                response = case.call(base_url=served.url, timeout=120)
                statuses.add(response.status_code)
                case.validate_response(response, checks=checks)

            answered()
    return asked, statuses


def _short(body: Any) -> Any:
    """The same with times that can be made, but not in a moment, brought down to a second."""
    if not isinstance(body, dict):
        return body
    return {key: 1 if key in _TIMES and _is_long(value) else value for key, value in body.items()}


def _is_long(value: Any) -> bool:
    return isinstance(value, int | float) and 1 < value < 100_000


def test_no_request_that_can_be_made_from_the_document_is_a_fault(served: Running) -> None:
    asked, statuses = ask(served, _CASES)
    assert asked >= _CASES
    assert {200, 202, 404, 422} <= statuses
    assert max(statuses) < 500


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, running(Settings("demo", Path(folder))) as server:
        print(*ask(server, int(sys.argv[1])))
