"""The SQL catalogue: the store of record for items, media, traces, model aliases, and the inbox and outbox."""

from storage.catalogue.aliases import AliasChange
from storage.catalogue.catalogue import Catalogue
from storage.catalogue.items import Item
from storage.catalogue.media import MediaRecord
from storage.catalogue.traces import TraceRecord

__all__ = ["AliasChange", "Catalogue", "Item", "MediaRecord", "TraceRecord"]
