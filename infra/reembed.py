"""Embeds items of the catalogue with the model that serves now, and publishes their index entries again."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from core.access.credentials import credentials
from core.access.roles import Role
from core.clock import SystemClock
from core.errors import Unavailable
from core.ports import EncodeFailure
from core.settings import Settings
from models.embedding_service import HttpEmbeddingService
from storage.catalogue import Catalogue, Item
from storage.log.producer import KafkaPublisher
from streams.agents.index_upload import index_record

BATCH = 32


@dataclass
class Reembedded:
    """How many entries were published, and why others could not be: item id to reason."""

    published: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def reembed(
    settings: Settings, http: str, bootstrap: str, *, everything: bool, progress: Callable[[str], None]
) -> Reembedded:
    """Publish an entry for each visible item that the index has none of (with `everything`: for each).

    An entry carries the version its item has in the catalogue, so an event that changes the item meanwhile wins.

    Raises:
        Unavailable: the embedding service or the broker stayed away; doing it again goes on from where it is.
    """
    return asyncio.run(_reembed(settings, http, bootstrap, everything=everything, progress=progress))


async def _reembed(
    settings: Settings, http: str, bootstrap: str, *, everything: bool, progress: Callable[[str], None]
) -> Reembedded:
    done = Reembedded()
    catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
    publisher = KafkaPublisher(bootstrap, settings.producer, client_id="riverlight-reembed")
    clock = SystemClock()
    service = HttpEmbeddingService(
        http, credentials=credentials(settings, clock, subject="reembed", roles=(Role.service,))
    )
    asking = credentials(settings, clock, subject="reembed", roles=(Role.admin,))
    try:
        async with httpx.AsyncClient(base_url=http, timeout=30) as api:
            after = ""
            while page := await asyncio.to_thread(catalogue.scan_items, after, BATCH, ("active",)):
                after = page[-1].item_id
                wanted = page if everything else [item for item in page if not await _indexed(api, item, asking())]
                if not wanted:
                    continue
                encoded = await service.encode_media([item.media_id for item in wanted], timeout_s=60)
                records = []
                for item, result in zip(wanted, encoded, strict=True):
                    if isinstance(result, EncodeFailure):
                        done.failed[item.item_id] = f"{result.code}: {result.message}"
                    else:
                        records.append(index_record(item, result, None))
                await publisher.publish(records)
                done.published += len(records)
                progress(f"embedded {done.published} items, up to {after}")
    finally:
        await service.aclose()
        await asyncio.to_thread(publisher.close)
        catalogue.close()
    return done


async def _indexed(api: httpx.AsyncClient, item: Item, headers: dict[str, str]) -> bool:
    answer = await api.get(f"/v1/items/{item.item_id}", headers=headers)
    if answer.status_code in (401, 403):
        raise Unavailable(f"the API does not let this command ask: {answer.text[:300]}")
    return answer.status_code == 200 and bool(answer.json().get("indexed"))
