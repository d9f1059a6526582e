"""What agents are given. Opened by `streams.worker`, or by a test with fakes; agents never open anything."""

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.clock import Clock
from core.ports import EmbeddingService, Publisher
from core.settings import Settings
from monitoring.recorder import Recorder
from monitoring.tracing import NO_TRACING, Tracer

if TYPE_CHECKING:
    from features.archive import ArchiveWriter
    from features.engine import FeatureEngine
    from features.online import OnlineStore
    from storage.catalogue import Catalogue
    from streams.agent import Pump
    from streams.moderation.feed import FeatureFeed
    from streams.moderation.opening import ModerationParts


@dataclass
class StreamDeps:
    """The collaborators of agents. An agent that needs one which is None says so when it is registered."""

    settings: Settings
    publisher: Publisher
    recorder: Recorder
    clock: Clock
    code_version: str = "unknown"
    tracer: Tracer = NO_TRACING
    catalogue: "Catalogue | None" = None
    embeddings: EmbeddingService | None = None
    features: "FeatureEngine | None" = None
    archive: "ArchiveWriter | None" = None
    moderation: "ModerationParts | None" = None
    feed: "FeatureFeed | None" = None
    online: "Callable[[], OnlineStore] | None" = None  # opens the online store of the features
    exit_process: Callable[[int], Any] = os._exit
    epochs: dict[str, str] = field(default_factory=dict)  # topic -> its incarnation when the worker started
    background: list[Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=list)  # run beside the agents
    pumps: list["Pump"] = field(default_factory=list)  # filled as agents are registered
