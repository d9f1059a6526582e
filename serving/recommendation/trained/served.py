"""The trained system that answers: exchanged in the background when another version is promoted.

A version is loaded, checked and put over the live state, its indexes filled, before it takes over; until then the one
before it answers. A version that cannot be loaded changes nothing: what is wrong with it is counted, in the log and in
`GET /v1/recommender`, and it is tried again once a minute.
"""

import math
import threading
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog

from core.clock import Clock
from core.errors import IntegrityError, InvalidInput, NotFound, RiverlightError
from models.registry.store import ModelRegistry, ModelVersion
from monitoring.catalogue import MODEL_CREATED, MODEL_LOADS
from monitoring.recorder import Recorder
from serving.recommendation.engine import Parts
from serving.recommendation.live_state import LiveState
from serving.recommendation.served_state import ServedState

if TYPE_CHECKING:  # they import torch, which costs time and memory: where no model is registered, nobody needs it
    from serving.recommendation.trained.parts import SystemOver
    from serving.recommendation.trained.system import TrainedSystem

_log = structlog.get_logger(__name__)

_TURN_S = 0.25  # between looks at the live state: how long a new video is not in the towers' index
_TRY_AGAIN_S = 60.0
_OUTCOMES = ("loaded", "refused", "failed", "missing")


class ServedSystem:
    """Follows a reference of the registry in a thread, between `start` and `close`."""

    def __init__(
        self,
        registry: ModelRegistry,
        reference: str,
        served: ServedState,
        *,
        check_s: float,
        scored_whole: int,
        live_names: Collection[str],
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        """`reference` is `model`, `model@alias` or `model@version`; `live_names` are those of the live generators."""
        self._registry = registry
        self._reference = reference
        self._served = served
        self._check_s = check_s
        self._scored_whole = scored_whole
        self._live_names = live_names
        self._recorder = recorder
        self._clock = clock
        self._over: SystemOver | None = None
        self._looked_s = -math.inf
        self._refused: tuple[str, float] | None = None  # the label of a version, and when
        self._problem: str | None = None
        self._loaded_at: datetime | None = None
        self._looked = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recommendation-model", daemon=True)
        for outcome in _OUTCOMES:
            self._count(outcome, 0)  # a counter that begins with its first event hides that event from `increase`

    def start(self) -> None:
        """Begin to follow the registry."""
        self._thread.start()

    def close(self) -> None:
        """Stop following; what was loaded still answers."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        if self._over is not None:
            self._over.close()

    def parts(self, state: LiveState) -> Parts | None:
        """Return what the system that is served now adds over a state; None while there is none for it."""
        over = self._over
        return over.parts if over is not None and over.state is state else None

    def ready(self) -> tuple[bool, str]:
        """Tell whether the registry was looked at, and a version that was there is loaded or refused."""
        return self._looked.is_set(), "" if self._looked.is_set() else f"{self._reference} is being loaded"

    def describe(self) -> dict[str, Any]:
        """Return which version is served, since when, and what is the matter with another."""
        over = self._over
        return {
            "reference": self._reference,
            "version": over.system.version if over is not None else None,
            "loaded_at": self._loaded_at.isoformat() if self._loaded_at is not None else None,
            "items": over.system.n_items if over is not None else 0,
            "new_videos": sum(len(one.index) for one in over.indexes[-1:]) if over is not None else 0,
            "problem": self._problem,
        }

    def look(self) -> None:
        """Look at the registry and at the live state once, and load or index what is new. The thread's work."""
        now_s = self._clock.monotonic()
        if not 0 <= now_s - self._looked_s < self._check_s:
            self._looked_s = now_s
            self._look_at_registry(now_s)
        over = self._over
        if over is not None and over.state is not self._served.current:
            self._take(over.system)
        elif over is not None:
            over.catch_up()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception as error:  # dying here would keep an old model for ever while all looks well
                self._problem = f"the model's thread failed: {error!r}"
                self._count("failed")
                _log.exception("recommendation_model_failed")
            self._looked.set()
            self._stop.wait(_TURN_S)

    def _look_at_registry(self, now_s: float) -> None:
        model, _, name = self._reference.partition("@")
        try:
            found = self._registry.show(model, name or None)
        except NotFound as error:  # nothing registered yet, or not under this name: what answers goes on answering
            self._problem = str(error)
            self._count("missing")
            return
        except RiverlightError as error:
            self._refuse(self._reference, error, now_s)
            return
        over = self._over
        if over is not None and over.system.version == found.label:
            self._problem = self._refused = None
        elif self._refused is None or self._refused[0] != found.label or now_s - self._refused[1] >= _TRY_AGAIN_S:
            self._load(found, now_s)

    def _load(self, found: ModelVersion, now_s: float) -> None:
        from serving.recommendation.trained.system import load_system

        try:
            system = load_system(self._registry.resolve(f"{found.model}@{found.version}"))
        except (IntegrityError, InvalidInput, NotFound, OSError) as error:
            self._refuse(found.label, error, now_s)
            return
        before = self._over
        self._take(system)
        self._problem = self._refused = None
        self._loaded_at = self._clock.now()
        self._count("loaded")
        if before is not None:
            self._recorder.set(MODEL_CREATED, math.nan, version=before.system.version)  # it may grow old now
        self._recorder.set(
            MODEL_CREATED, datetime.fromisoformat(found.manifest.created).timestamp(), version=system.version
        )
        _log.info(
            "recommendation_model_served",
            version=system.version,
            before=before.system.version if before is not None else None,
        )

    def _take(self, system: "TrainedSystem") -> None:
        """Let a system answer over the live state of now. The first answers at once; another one once it is indexed."""
        from serving.recommendation.trained.parts import system_over

        before, state = self._over, self._served.current
        over = system_over(system, state, self._live_names, scored_whole=self._scored_whole)
        if before is not None and before.state is state:
            over.catch_up()
            self._over = over
        else:
            self._over = over
            over.catch_up()
        if before is not None:
            before.close()

    def _refuse(self, label: str, error: Exception, now_s: float) -> None:
        self._problem = str(error)
        self._count("refused")
        if self._refused is None or self._refused[0] != label:
            _log.error("recommendation_model_refused", version=label, error=str(error))
        self._refused = (label, now_s)

    def _count(self, outcome: str, times: int = 1) -> None:
        self._recorder.count(MODEL_LOADS, times, system="recommendation", outcome=outcome)
