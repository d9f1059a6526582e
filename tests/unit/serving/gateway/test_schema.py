"""Requests made from the OpenAPI document: whatever fits it, and what nearly does, never breaks the gateway."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
OPERATIONS = [
    ("/v1/media", "POST"),
    ("/v1/media/{media_id}", "GET"),
    ("/v1/events/{stream}", "POST"),
    ("/v1/search/images", "POST"),
    ("/v1/items/{item_id}", "GET"),
    ("/v1/traces/{trace_id}", "GET"),
    ("/v1/features/items/{item_id}", "GET"),
    ("/v1/recommendations/{user_id}", "GET"),
    ("/v1/recommendations/{user_id}/why-not/{item_id}", "GET"),
    ("/v1/recommender", "GET"),
    ("/v1/restrictions", "GET"),
    ("/v1/moderation/score", "POST"),
    ("/v1/moderation/measures", "GET"),
    ("/v1/moderation/policy", "GET"),
    ("/v1/posts/{post_id}/decision", "GET"),
    ("/v1/posts/{post_id}/decisions", "GET"),
    ("/v1/posts/{post_id}/reports", "POST"),
    ("/v1/decisions/{decision_id}/appeals", "POST"),
    ("/v1/appeals/{appeal_id}", "GET"),
    ("/v1/review/jobs", "GET"),
    ("/v1/review/jobs/{job_id}", "GET"),
    ("/v1/review/media/{media_id}", "GET"),
    ("/v1/review/lease", "POST"),
    ("/v1/review/jobs/{job_id}/lease", "POST"),
    ("/v1/review/jobs/{job_id}/release", "POST"),
    ("/v1/review/jobs/{job_id}/decision", "POST"),
    ("/v1/index", "GET"),
    ("/v1/index/verify", "POST"),
    ("/v1/index/rebuild", "POST"),
    ("/v1/index/snapshot", "POST"),
]


async def test_every_operation_of_the_api_is_tried(world):
    document = (await world.client.get("/openapi.json")).json()
    tried = {path for path, _ in OPERATIONS} | {"/v1/features/users/{user_id}", "/livez", "/readyz", "/metrics"}
    assert tried == set(document["paths"])


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_requests_that_fit_the_schema_or_nearly_do_are_answered_as_documented(world, path, method):
    from serving.gateway.api import create_api

    schema = schemathesis.openapi.from_asgi("/openapi.json", create_api(world.deps))
    operation = schema[path][method]
    cases = st.one_of(
        operation.as_strategy(),
        operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE),
    )

    @EXAMPLES
    @given(cases)
    def try_it(case):
        answer = case.call()
        assert answer.status_code < 500, answer.text
        assert "x-trace-id" in answer.headers
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"]
            assert answer.json()["trace_id"] == answer.headers["x-trace-id"][0]

    try_it()
