"""Reads multipart forms: one file and a few small fields, each bounded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException

from serving.gateway.problems import InvalidRequest

_MAX_FIELDS = 16
_MAX_FIELD_BYTES = 64 * 1024


class Form:
    """A multipart form that has been received."""

    def __init__(self, data: FormData) -> None:
        self._data = data

    async def file(self) -> bytes:
        """Return the bytes of the field `file`. Raises InvalidRequest when there is none, or it is empty."""
        part = self._data.get("file")
        if not isinstance(part, UploadFile):
            raise InvalidRequest(
                "the form has no file in its field `file`", [{"field": "file", "message": "a file is required"}]
            )
        data = await part.read()
        if not data:
            raise InvalidRequest("the file is empty", [{"field": "file", "message": "the file is empty"}])
        return data

    def fields(self) -> dict[str, str]:
        """Return the fields that are not files. Raises InvalidRequest for a field that is there twice."""
        names = [name for name, _ in self._data.multi_items()]
        for name in names:
            if names.count(name) > 1:
                raise InvalidRequest(f"{name} is given twice", [{"field": name, "message": "given twice"}])
        return {name: value for name, value in self._data.items() if isinstance(value, str)}


@asynccontextmanager
async def read_form(request: Request) -> AsyncIterator[Form]:
    """Receive the multipart form of a request; its temporary files live as long as the context.

    Raises:
        InvalidRequest: the body is not a multipart form, or has too many or too large parts.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidRequest(
            "send the file as multipart/form-data, in the field `file`",
            [{"field": "content-type", "message": "must be multipart/form-data"}],
        )
    try:
        data = await request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES)
    except Exception as error:
        if not isinstance(error, MultiPartException | KeyError | ValueError) and type(error).__name__ not in _PARSER:
            raise
        reason = str(getattr(error, "message", "") or getattr(error, "detail", "") or error)
        raise InvalidRequest(
            f"not a multipart form: {reason}", [{"field": "body", "message": reason or "not a multipart form"}]
        ) from error
    try:
        yield Form(data)
    finally:
        await data.close()


_PARSER = {"HTTPException", "MultipartParseError", "FormParserError", "LookupError", "UnicodeDecodeError"}


def file_schema(fields: dict[str, Any], *, json_model: type[BaseModel] | None = None) -> dict[str, Any]:
    """Return the OpenAPI of a body read by hand: a multipart form with a file, and perhaps JSON instead."""
    properties = {"file": {"type": "string", "format": "binary"}, **fields}
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": {"type": "object", "required": ["file"], "properties": properties}}
    }
    if json_model is not None:
        content["application/json"] = {"schema": _inlined(json_model.model_json_schema())}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Put the definitions of a JSON schema where they are referred to: OpenAPI looks for them elsewhere."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(item) for item in node]
        if not isinstance(node, dict):
            return node
        reference = node.get("$ref", "")
        if reference.startswith("#/$defs/"):
            siblings = {name: value for name, value in node.items() if name != "$ref"}
            return {**resolve(definitions[reference.removeprefix("#/$defs/")]), **siblings}
        return {name: resolve(value) for name, value in node.items()}

    resolved: dict[str, Any] = resolve(schema)
    return resolved
