"""The harm models that score now: the one that decides, and a challenger that is only compared.

What a challenger says is kept with each decision (`storage.moderation.Told`); `riverlight moderation shadow` compares.
A thread looks at the registry; a version is loaded and checked before it takes over. One that cannot be loaded changes
nothing: it is counted and logged, and tried again when the alias moves or a minute has passed.
"""

import math
import threading
from dataclasses import dataclass

import structlog

from core.clock import Clock
from core.errors import ConfigurationError, IntegrityError, InvalidInput, NotFound, RiverlightError
from core.settings import ModerationSettings
from models.moderation.score import HarmModel
from models.registry.store import ALIASES, ModelRegistry, ModelVersion
from monitoring.catalogue import MODEL_LOADS, MODERATION_CANDIDATES
from monitoring.recorder import Recorder

SYSTEM, CHALLENGER = "moderation", "moderation_challenger"
_TRY_AGAIN_S = 60.0
_COUNT_S = 60.0
_OUTCOMES = ("promoted", "challenger", "held")

_log = structlog.get_logger(__name__)


def load_for(version: ModelVersion, text_encoder: str | None) -> HarmModel:
    """Load a version for a system whose text encoder has this version; None: not compared.

    Raises IntegrityError when the file is none that this code reads, or its texts were embedded by another encoder.
    """
    model = HarmModel.load(version.folder)
    if text_encoder is not None and model.text_encoder != text_encoder:
        raise IntegrityError(
            f"{version.label} was trained with text encoder {model.text_encoder}, this system has {text_encoder}: "
            "its vectors mean something else. Train it again (riverlight train moderation), or set the encoder"
        )
    return model


@dataclass
class _Followed:
    """One reference of the registry, and what it led to."""

    reference: str
    system: str
    text_encoder: str
    model: HarmModel | None = None
    refused: tuple[str, float] | None = None  # the label of a version, and when

    def look(self, registry: ModelRegistry, now_s: float) -> str:
        """Load what the reference means now; return what came of it, empty where nothing is new."""
        version = registry.resolve(self.reference)
        label = version.label
        if self.model is not None and self.model.version == label:
            return ""
        if self.refused is not None and self.refused[0] == label and now_s - self.refused[1] < _TRY_AGAIN_S:
            return ""
        try:
            model = load_for(version, self.text_encoder)
        except RiverlightError:
            self.refused = (label, now_s)
            raise
        self.model, self.refused = model, None
        return label


class HarmModels:
    """Follows `moderation.model` and `moderation.challenger`. `look` does the work; `start` has a thread do it."""

    def __init__(
        self,
        registry: ModelRegistry,
        settings: ModerationSettings,
        recorder: Recorder,
        clock: Clock,
        *,
        text_encoder: str,
    ) -> None:
        """`text_encoder` is the version of the encoder whose vectors the models will be given."""
        self._registry = registry
        self._recorder = recorder
        self._clock = clock
        self._check_s = settings.model_check_s
        self._champion = _Followed(settings.model, SYSTEM, text_encoder)
        self._challenger = _Followed(settings.challenger, CHALLENGER, text_encoder) if settings.challenger else None
        self._counted_s = -math.inf
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="moderation-models", daemon=True)

    @property
    def champion(self) -> HarmModel:
        """The model that decides. Raises ConfigurationError where none could be loaded yet."""
        model = self._champion.model
        if model is None:
            raise ConfigurationError(f"no model {self._champion.reference} could be loaded; the log says why")
        return model

    @property
    def challenger(self) -> HarmModel | None:
        """The model that is compared; None where there is none, or it has become the one that decides."""
        model, champion = self._challenger.model if self._challenger is not None else None, self._champion.model
        return None if model is None or (champion is not None and model.version == champion.version) else model

    def start(self) -> None:
        """Begin to follow the registry."""
        self._thread.start()

    def close(self) -> None:
        """Stop following; what was loaded still scores."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def look(self) -> None:
        """Look at the registry once, and load what is new."""
        now_s = self._clock.monotonic()
        for followed in (self._champion, self._challenger):
            if followed is None:
                continue
            try:
                loaded = followed.look(self._registry, now_s)
            except NotFound as error:
                if followed is self._challenger and followed.reference.partition("@")[2] in ALIASES:
                    followed.model = None  # nothing is compared now, which is no mistake
                else:
                    self._complain(followed, "missing", error)
            except InvalidInput as error:
                self._complain(followed, "missing", error)
            except RiverlightError as error:
                self._complain(followed, "refused", error)
            else:
                if loaded:
                    self._recorder.count(MODEL_LOADS, system=followed.system, outcome="loaded")
                    _log.info("harm_model_loaded", system=followed.system, version=loaded)
        if now_s - self._counted_s >= _COUNT_S:
            self._counted_s = now_s
            self._count_candidates()

    def _count_candidates(self) -> None:
        """Count the versions that learned from labels by what the gate made of them: learning runs elsewhere."""
        try:
            versions = self._registry.list(self._champion.reference.partition("@")[0])
        except RiverlightError as error:
            _log.warning("candidates_not_counted", error=str(error))
            return
        outcomes = [one.manifest.metrics.get("gate", {}).get("outcome") for one in versions]
        for outcome in _OUTCOMES:
            self._recorder.set(MODERATION_CANDIDATES, outcomes.count(outcome), outcome=outcome)

    def _complain(self, followed: _Followed, outcome: str, error: Exception) -> None:
        self._recorder.count(MODEL_LOADS, system=followed.system, outcome=outcome)
        _log.warning("harm_model_not_loaded", system=followed.system, reference=followed.reference, error=str(error))

    def _run(self) -> None:
        while not self._stop.wait(self._check_s):
            try:
                self.look()
            except Exception:  # dying here would keep an old model for ever while all looks well
                _log.exception("harm_models_failed")
                self._recorder.count(MODEL_LOADS, system=SYSTEM, outcome="failed")
