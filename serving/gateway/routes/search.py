"""`/v1/search/images`: what looks like this picture."""

import json
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ValidationError

from core.ports import SearchFilter
from serving.exchange import Exchange
from serving.gateway.dependencies import GatewayDeps, deps_of, exchange_of
from serving.gateway.multipart import file_schema, read_form
from serving.gateway.problems import InvalidRequest, field_errors
from serving.gateway.schemas import (
    CandidateVerdict,
    Explanation,
    SearchAnswer,
    SearchByReference,
    SearchFilters,
    SearchOptions,
    SearchResult,
)
from serving.visual_search import CANARY_CATEGORY, VisualAnswer, VisualQuery

router = APIRouter(prefix="/v1/search", tags=["search"])

M = TypeVar("M", bound=BaseModel)

_FORM_FIELDS = {
    "crop": {"type": "string", "description": "JSON: [x, y, width, height] as fractions of the image."},
    "k": {"type": "integer", "minimum": 1},
    "filters": {"type": "string", "description": "JSON: as `filters` of the JSON form."},
    "min_score": {"type": "number", "minimum": -1, "maximum": 1},
    "explain": {"type": "boolean"},
    "include_query": {"type": "boolean"},
}
_JSON_FIELDS = ("crop", "filters")  # of the form: structured values, written as JSON


@router.post(
    "/images",
    openapi_extra=file_schema(_FORM_FIELDS, json_model=SearchByReference),
    summary="Find similar images",
    response_model=SearchAnswer,
)
async def search_images(
    request: Request,
    deps: Annotated[GatewayDeps, Depends(deps_of)],
    exchange: Annotated[Exchange, Depends(exchange_of)],
) -> Response:
    """Find images similar to stored media, to an indexed item, or to a file that is not stored.

    JSON names what is stored (`media_id` or `item_id`); multipart brings a `file` and the same options as form
    fields. Hidden, private, taken-down and region-blocked images never come up, nor the query image, copies of a better
    result, or anything below `min_score`: no results is an answer.
    """
    query, explain = await _read(request)
    answer = await deps.visual_search.search(query, exchange)
    # Made from its model, so that FastAPI need not validate it once more and make it into plain objects first.
    return Response(_answered(answer, exchange, explain).model_dump_json(), media_type="application/json")


async def _read(request: Request) -> tuple[VisualQuery, bool]:
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async with read_form(request) as form:
            data = await form.file()
            options = _validated(SearchOptions, _from_form(form.fields()))
        return _query(options, data=data), options.explain
    by_reference = _validated(SearchByReference, _from_json(await request.body()))
    return _query(by_reference, media_id=by_reference.media_id, item_id=by_reference.item_id), by_reference.explain


def _query(options: SearchOptions, **what: Any) -> VisualQuery:
    filters: SearchFilters = options.filters
    where = SearchFilter(
        owner_id=filters.owner_id,
        category=filters.category,
        language=filters.language,
        kind=filters.kind,
        tags_any=tuple(filters.tags_any),
        region=filters.region,
        exclude_categories=() if filters.category == CANARY_CATEGORY else (CANARY_CATEGORY,),
    )
    return VisualQuery(
        crop=options.crop,
        k=options.k,
        min_score=options.min_score,
        include_query=options.include_query,
        where=where,
        **what,
    )


def _from_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        message = f"not JSON: {error}"
        raise InvalidRequest(f"the body is {message}", [{"field": "body", "message": message}]) from error


def _from_form(fields: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = dict(fields)
    for name in _JSON_FIELDS:
        if name in fields:
            try:
                values[name] = json.loads(fields[name])
            except (ValueError, RecursionError) as error:
                raise InvalidRequest(
                    f"{name} is not JSON: {error}", [{"field": name, "message": f"not JSON: {error}"}]
                ) from error
    return values


def _validated(model: type[M], values: Any) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fields = field_errors(error.errors(include_url=False, include_input=False))
        said = "; ".join(f"{item['field']}: {item['message']}" for item in fields)
        raise InvalidRequest(f"the request is not valid: {said}", fields) from error


def _answered(answer: VisualAnswer, exchange: Exchange, explain: bool) -> SearchAnswer:
    return SearchAnswer(
        results=[
            SearchResult(
                item_id=hit.entry.item_id,
                score=round(hit.score, 6),
                media_id=hit.entry.media_id,
                title=hit.entry.title,
                owner_id=hit.entry.owner_id,
                tags=hit.entry.tags,
                category=hit.entry.category,
            )
            for hit in answer.results
        ],
        trace_id=answer.trace_id,
        model_version=answer.model_version,
        took_ms=round(exchange.elapsed_s * 1000, 3),
        explain=_explained(answer, exchange) if explain else None,
    )


def _explained(answer: VisualAnswer, exchange: Exchange) -> Explanation:
    return Explanation(
        candidates=[CandidateVerdict(**msgspec.structs.asdict(verdict)) for verdict in answer.reranked.verdicts],
        min_score=answer.min_score,
        stages_ms={name: round(seconds * 1000, 3) for name, seconds in exchange.stages_s.items()},
    )
