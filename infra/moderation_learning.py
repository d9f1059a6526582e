"""Rounds of learning harm from what people said of posts: collected, taught, judged, registered.

What a version was taught is in its weights file, so the registry is all there is to remember: whoever starts again goes
on from the champion, and what a held or interrupted round would have learned is fresh still.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from core.clock import Clock, SystemClock
from core.errors import IntegrityError, NotFound
from core.moderation import HarmClass
from core.ports import TextEncoder
from core.release import release
from core.settings import LearningModerationSettings
from infra.moderation_labels import Posts, silent
from models.drift.reference import Reference
from models.moderation.learning.base import load_base
from models.moderation.learning.examples import Floats
from models.moderation.learning.gate import GateRule, Verdict
from models.moderation.learning.round import Material, RoundRule, learn, post_hash
from models.moderation.learning.saved import SavedModel, load_saved
from models.moderation.learning.tune import TuneSettings
from models.moderation.learning.version import origin_of, write_version
from models.moderation.wording import profane_words_of
from models.progress import Report
from models.registry.store import CHALLENGER, ModelRegistry, ModelVersion
from serving.moderation.passages import passages

MODEL = "moderation"


@dataclass(frozen=True)
class Round:
    """What one round came to."""

    model: str
    parent: str
    version: str
    outcome: str  # promoted, challenger, held
    reason: str
    verdict: Verdict
    reported: int
    fresh: int
    unreported: int
    kept_out: int
    judged: int
    judged_left_out: int
    harmful: Mapping[HarmClass, int]
    anchors: str
    folder: Path


class Learner:
    """Makes rounds from whatever version is the champion."""

    def __init__(
        self,
        home: Path,
        registry: ModelRegistry,
        posts: Posts,
        encoder: TextEncoder,
        settings: LearningModerationSettings,
        *,
        images: Callable[[], Floats] | None = None,
        shadow_first: bool = False,
        command: str = "riverlight learn moderation",
        report: Report = silent,
        stop: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
    ) -> None:
        """`images` gives vectors of harmless images; `shadow_first`: what would be promoted becomes challenger."""
        self._home = home
        self._registry = registry
        self._posts = posts
        self._encoder = encoder
        self._settings = settings
        self._images = images
        self._shadow_first = shadow_first
        self._command = command
        self._report = report
        self._stop = stop
        self._clock = clock or SystemClock()

    def fresh(self) -> set[str]:
        """Return the reported posts that have not taught the champion. Raises NotFound, Unavailable."""
        taught = set(load_saved(self._champion().folder).taught.tolist())
        ids = (one.known.post_id for one in self._posts.said().reported)
        return {post_id for post_id in ids if post_hash(post_id) not in taught}

    def round(self) -> Round:
        """Learn what people said, register the candidate, and let the gate say what becomes of it.

        Raises:
            NotFound: there is no champion to go on from.
            IntegrityError: the champion is of another text encoder, or cannot go on learning.
            InvalidInput: too little is fresh.
            Stopped: nothing was registered.
        """
        parent = self._champion()
        saved = load_saved(parent.folder)
        self._check_encoder(parent, saved)
        said = self._posts.said(self._report)
        words = profane_words_of(self._home)
        base = load_base(
            self._home,
            self._encoder,
            saved.described.scaling,
            words,
            images=None if self._images is None else self._images(),
            report=self._report,
        )
        material = Material(
            said.judged, said.natural, base, self._posts.texts(saved.taught.tolist()), origin_of(parent.manifest)
        )
        cut = lambda text: [passage.text for passage in passages(text)[0]]  # noqa: E731
        outcome = learn(
            saved, material, self._rule(), self._encoder, words, cut=cut, report=self._report, stop=self._stop
        )
        anchors = f"{len(base.anchors):,} texts of the base" if base.installed else "this project's own sentences"
        with tempfile.TemporaryDirectory() as folder:
            manifest = write_version(
                outcome,
                saved,
                Path(folder),
                parent=parent.manifest,
                anchors=anchors,
                command=self._command,
                code_version=release(),
                created=self._clock.now().astimezone(UTC).isoformat(timespec="seconds"),
            )
            _carry_reference(parent, Path(folder), manifest.sha256)
            registered = self._registry.register(MODEL, Path(folder))
        became, reason = self._point(parent.version, manifest.version, outcome.verdict)
        return Round(
            model=MODEL,
            parent=parent.version,
            version=manifest.version,
            outcome=became,
            reason=reason,
            verdict=outcome.verdict,
            reported=outcome.reported,
            fresh=outcome.fresh,
            unreported=outcome.unreported,
            kept_out=outcome.kept_out,
            judged=outcome.verdict.judged,
            judged_left_out=outcome.judged_left_out,
            harmful=outcome.harmful,
            anchors=anchors,
            folder=registered.folder,
        )

    def _point(self, parent: str, version: str, verdict: Verdict) -> tuple[str, str]:
        """Point the aliases where the verdict says; return what became of the candidate, and why."""
        outcome, reason = verdict.outcome, verdict.reason
        if outcome == "promoted" and (served := self._champion().version) != parent:
            return "held", f"{served} became champion meanwhile; compared was {parent}"
        if outcome == "promoted" and self._shadow_first:
            outcome, reason = "challenger", f"{reason}; it scores beside the champion first, as was asked"
        if outcome == "promoted":
            self._registry.promote(MODEL, version)
        elif outcome == "challenger":
            self._registry.promote(MODEL, version, alias=CHALLENGER)
        return outcome, reason

    def _champion(self) -> ModelVersion:
        try:
            return self._registry.resolve(MODEL)
        except NotFound as error:
            raise NotFound(
                f"{error}. Learning goes on from a trained model: `riverlight train moderation --promote` makes the "
                "first"
            ) from error

    def _check_encoder(self, parent: ModelVersion, saved: SavedModel) -> None:
        if saved.described.text_encoder != self._encoder.version:
            raise IntegrityError(
                f"{parent.label} was trained with text encoder {saved.described.text_encoder}, this system has "
                f"{self._encoder.version}: its vectors mean something else. Train it again (riverlight train "
                "moderation), or set the encoder"
            )

    def _rule(self) -> RoundRule:
        chosen = self._settings
        return RoundRule(
            chosen.min_posts,
            chosen.unreported_for_each,
            GateRule(chosen.min_hand, chosen.margin, chosen.class_margin, chosen.pr_margin, chosen.calibration),
            TuneSettings(steps=chosen.steps, learning_rate=chosen.learning_rate),
        )


def _carry_reference(parent: ModelVersion, folder: Path, sha256: str) -> None:
    """Give a candidate its parent's reference for drift: both go back to the same texts, but scores are its own."""
    try:
        found = Reference.load(parent.folder, made_for=parent.manifest.sha256)
    except IntegrityError:  # without one the first live rows are the reference
        return
    if found is not None:
        kept = tuple(feature for feature in found.features if feature.kind != "score")
        Reference(found.system, kept).save(folder, made_for=sha256)
