"""The trained system that answers: exchanged in the background when another version is promoted.

A version is loaded, checked and put over the live state, its indexes filled, before it takes over; until then the one
before it answers. A version that cannot be loaded changes nothing: what is wrong with it is counted, in the log and in
`GET /v1/recommender`, and it is tried again once a minute.

When the follower had to build another live state, the system is put over that one before it answers, so that no answer
is without a model. Only what the towers' indexes hold comes after: it is filled while the system answers.
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
        self._ahead: tuple[SystemOver, ...] = ()  # the same over states that came since, until `look` takes it over
        self._ahead_lock = threading.Lock()
        self._looked_s = -math.inf
        self._refused: tuple[str, float] | None = None  # the label of a version, and when
        self._problem: str | None = None
        self._loaded_at: datetime | None = None
        self._looked = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recommendation-model", daemon=True)
        served.before_another(self._put_over)
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
        for over in (self._over, *self._ahead):
            if over is not None:
                over.close()

    def parts(self, state: LiveState) -> Parts | None:
        """Return what the system that is served now adds over a state; None while there is none for it."""
        for over in (*self._ahead, self._over):  # in this order: it moves from the first place to the second
            if over is not None and over.state is state:
                return over.parts
        return None

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
        """Let a system answer over the live state of now; where one does already, this one once it is indexed."""
        state = self._served.current
        over = next((one for one in self._ahead if one.state is state and one.system is system), None)
        if over is None:
            over = self._make_over(system, state)
            if self.parts(state) is not None:
                over.catch_up()
        before, self._over = self._over, over
        with self._ahead_lock:  # those up to this state have had their time; those after it are over states to come
            ended = max((place for place, one in enumerate(self._ahead, start=1) if one.state is state), default=0)
            passed, self._ahead = self._ahead[:ended], self._ahead[ended:]
        for one in (before, *passed):
            if one is not None and one is not over:
                one.close()
        over.catch_up()

    def _put_over(self, state: LiveState) -> None:
        """Put the system that answers over a live state that answers next. The follower's thread."""
        over = self._over
        if over is None or over.state is state:
            return
        try:
            ahead = self._make_over(over.system, state)
        except Exception:  # the state must not wait for a defect of the model; `look` tries again
            _log.exception("recommendation_model_not_ahead", version=over.system.version)
            return
        with self._ahead_lock:  # what is over the state that answers now is needed until the next one does
            answers = self._served.current
            stale = [one for one in self._ahead if one.state is not answers]
            self._ahead = (*(one for one in self._ahead if one.state is answers), ahead)
        for one in stale:
            if one is not self._over:
                one.close()

    def _make_over(self, system: "TrainedSystem", state: LiveState) -> "SystemOver":
        from serving.recommendation.trained.parts import system_over

        return system_over(system, state, self._live_names, scored_whole=self._scored_whole)

    def _refuse(self, label: str, error: Exception, now_s: float) -> None:
        self._problem = str(error)
        self._count("refused")
        if self._refused is None or self._refused[0] != label:
            _log.error("recommendation_model_refused", version=label, error=str(error))
        self._refused = (label, now_s)

    def _count(self, outcome: str, times: int = 1) -> None:
        self._recorder.count(MODEL_LOADS, times, system="recommendation", outcome=outcome)
