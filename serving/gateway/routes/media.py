"""`/v1/media`: bytes in (stored under their SHA-256), thumbnails of public images and videos out."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Request, Response

from core.errors import NotFound
from core.ids import MEDIA_ID_PATTERN
from serving.exchange import Exchange
from serving.gateway.dependencies import GatewayDeps, deps_of, exchange_of
from serving.gateway.multipart import file_schema, read_form
from serving.gateway.schemas import MediaStored
from storage.catalogue import MediaRecord

router = APIRouter(prefix="/v1/media", tags=["media"])

Deps = Annotated[GatewayDeps, Depends(deps_of)]


@router.post("", status_code=201, openapi_extra=file_schema({}), summary="Store an image or a video")
async def store_media(request: Request, deps: Deps, exchange: Annotated[Exchange, Depends(exchange_of)]) -> MediaStored:
    """Store one image or video, sent as the multipart field `file`, so that events can refer to it.

    The bytes are looked at (in a confined process) before they are stored: an image's header; a video's container,
    codec and first frame. What cannot be read is refused. The same bytes again give the same id.

    Images are JPEG, PNG, WebP or GIF; videos MP4 or MOV (H.264, MPEG-4), WebM (VP8, VP9) or AVI (MPEG-4).
    """
    async with read_form(request) as form:
        data = await form.file()
    with exchange.stage("probe"):
        info = await deps.decoder.probe(data)
    kind: Literal["image", "video"] = "video" if info.kind == "video" else "image"
    with exchange.stage("store"):
        media_id = await deps.objects.put(data)
        record = MediaRecord(
            media_id=media_id,
            kind=kind,
            mime=info.mime,
            width=info.width,
            height=info.height,
            duration_s=info.duration_s,
            size_bytes=len(data),
            created_at=deps.clock.now(),
        )
        await asyncio.to_thread(deps.catalogue.add_media, record)
    return MediaStored(
        media_id=media_id,
        kind=kind,
        mime=info.mime,
        width=info.width,
        height=info.height,
        duration_s=info.duration_s,
    )


@router.get(
    "/{media_id}",
    summary="A thumbnail of a public image or video",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}},
)
async def thumbnail(media_id: Annotated[str, Path(pattern=MEDIA_ID_PATTERN)], deps: Deps) -> Response:
    """Return a JPEG of at most 512 pixels a side while a public, visible item shows the media.

    A video is shown by its middle frame. The JPEG is made from decoded pixels and never the stored bytes, so that
    nothing somebody uploaded reaches a browser as it came.
    """
    deps.restrictions.check_ready()
    entry = deps.index.current.by_media(media_id, deps.restrictions.enforces)
    if entry is None or deps.restrictions.enforces(entry):
        raise NotFound(f"no public item shows media {media_id}")
    if entry.state != "active" or entry.unsafe or entry.visibility != "public":
        raise NotFound(f"no public item shows media {media_id}")
    data = await deps.thumbnails.get(media_id)
    # Short: hiding or deleting the item must take the picture away from people who have not seen it yet.
    return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=60"})
