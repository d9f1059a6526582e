"""Rounds of learning on a platform: from the served version, what is fresh, the gate, to the registry.

A version's position in the stream is in its manifest, so the registry is all there is to remember: whoever starts again
goes on from the champion, and what a held or interrupted round would have learned is fresh still.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from core.clock import Clock, SystemClock
from core.errors import ConfigurationError, InvalidInput, NotFound
from core.release import release
from core.settings import LearningSettings
from infra.recommendation_stream import Platform
from models.recommendation.data import DEFAULT, Loaded, load_feedback
from models.recommendation.described import USER_COLUMNS, VIDEO_COLUMNS, described
from models.recommendation.labels import RelevanceRule
from models.recommendation.learning.gate import Verdict
from models.recommendation.learning.round import Material, click_to_weights, learn, table_over
from models.recommendation.learning.traffic import traffic_of
from models.recommendation.learning.version import base_of, position_of, write_version
from models.recommendation.recommender import Report, silent
from models.recommendation.weights import Saved, load_model
from models.registry.manifest import WEIGHTS, Manifest
from models.registry.store import ModelRegistry


@dataclass(frozen=True)
class BaseFiles:
    """The files a version was first trained on, where these are not a data set that is installed."""

    interactions: Path | None = None
    items: Path | None = None
    users: Path | None = None
    relevant_from: float | None = None


@dataclass(frozen=True)
class Round:
    """What one round came to."""

    model: str
    parent: str
    version: str
    promoted: bool
    reason: str
    verdict: Verdict
    taught_events: int
    taught_pairs: int
    new_items: int
    refitted: tuple[str, ...]
    kept: tuple[str, ...]
    click_to_weights: Mapping[str, float]  # minutes
    folder: Path


class Learner:
    """Makes rounds from whatever version is the champion."""

    def __init__(
        self,
        home: Path,
        registry: ModelRegistry,
        model: str,
        settings: LearningSettings,
        *,
        files: BaseFiles | None = None,
        command: str = "riverlight learn recommendation",
        report: Report = silent,
        stop: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
    ) -> None:
        """`files`: what the champion's line was first trained on, when it was files; `stop`: see `learn`."""
        self._home = home
        self._registry = registry
        self._model = model
        self._settings = settings
        self._files = files or BaseFiles()
        self._command = command
        self._report = report
        self._stop = stop
        self._clock = clock or SystemClock()

    def fresh(self, platform: Platform) -> int:
        """Return how many events the champion has not learned. Raises NotFound where there is no champion."""
        manifest = self._registry.show(self._model).manifest
        items = load_model(self._registry.resolve(self._model).folder / WEIGHTS).items
        traffic = traffic_of(platform.known_to(items), None, items)
        return int(traffic.fresh(position_of(manifest)).sum())

    def round(self, platform: Platform) -> Round:
        """Learn what is fresh, register the candidate, and promote it if the gate says so.

        Raises:
            NotFound: there is no champion to go on from.
            InvalidInput: too little is fresh, or the model cannot go on learning.
            Stopped: see `learn`; nothing was registered.
        """
        parent = self._champion()
        saved = load_model(parent.folder / WEIGHTS)
        learned = position_of(parent.manifest)
        material = self._material(platform, saved, parent.manifest)
        outcome = learn(saved, learned, material, self._settings, report=self._report, stop=self._stop)
        now = self._clock.now()
        minutes = click_to_weights(outcome.arrived_s, now.timestamp())
        with tempfile.TemporaryDirectory() as folder:
            manifest = write_version(
                outcome,
                Path(folder),
                model=self._model,
                parent=parent.manifest,
                command=self._command,
                code_version=release(),
                created=now.astimezone(UTC).isoformat(timespec="seconds"),
                minutes=minutes,
            )
            registered = self._registry.register(self._model, Path(folder))
        promoted, reason = outcome.verdict.promote, outcome.verdict.reason
        if promoted and (now_served := self._champion().version) != parent.version:
            promoted, reason = False, f"{now_served} became champion meanwhile; compared was {parent.version}"
        if promoted:
            self._registry.promote(self._model, manifest.version)
        return Round(
            model=self._model,
            parent=parent.version,
            version=manifest.version,
            promoted=promoted,
            reason=reason,
            verdict=outcome.verdict,
            taught_events=outcome.taught_events,
            taught_pairs=outcome.taught_pairs,
            new_items=outcome.new_items,
            refitted=outcome.refitted,
            kept=outcome.kept,
            click_to_weights=minutes,
            folder=registered.folder,
        )

    def _champion(self) -> Any:
        try:
            return self._registry.resolve(self._model)
        except NotFound as error:
            raise NotFound(
                f"{error}. Learning goes on from a trained model: `riverlight train recommendation --model "
                f"{self._model.removeprefix('recommendation-')} --promote` makes the first"
            ) from error

    def _material(self, platform: Platform, saved: Saved, manifest: Manifest) -> Material:
        loaded = self._base(saved, manifest)
        traffic = traffic_of(platform.known_to(saved.items), loaded.log if loaded is not None else None, saved.items)
        base = base_of(manifest)
        at_hand = loaded is not None or bool(base.get("archive"))
        return Material(
            traffic=traffic,
            rule=loaded.rule if loaded is not None else RelevanceRule(),
            item_table=table_over(
                traffic.log.items,
                saved.item_encoder,
                base=loaded.feedback.item_table if loaded is not None else None,
                described=described(platform.videos, VIDEO_COLUMNS),
                rows=platform.videos,
            ),
            user_table=table_over(
                traffic.log.users,
                saved.user_encoder,
                base=loaded.feedback.user_table if loaded is not None else None,
                described=described(platform.users, USER_COLUMNS),
                rows=platform.users,
            ),
            elsewhere=0 if at_hand else int(base.get("pairs", 0)),
        )

    def _base(self, saved: Saved, manifest: Manifest) -> Loaded | None:
        """Return what the version was first trained on, where it is at hand."""
        base, files = base_of(manifest), self._files
        if files.interactions is not None:
            loaded = load_feedback(
                self._home,
                interactions=files.interactions,
                items=files.items,
                users=files.users,
                relevant_from=files.relevant_from,
            )
            if loaded.source["interactions_sha256"] != base.get("interactions_sha256"):
                raise InvalidInput(
                    f"{files.interactions} is not what {manifest.model}/{manifest.version} was first trained on; name "
                    "that file, or none"
                )
            return loaded
        if base.get("dataset") != DEFAULT:
            return None
        try:
            loaded = load_feedback(self._home)
        except ConfigurationError:  # it is not installed here
            return None
        return loaded if _describes(loaded, saved) else None


def _describes(loaded: Loaded, saved: Saved) -> bool:
    """Tell whether data describes videos and people as a model was trained with: else it was trained on other data."""
    tables = (loaded.feedback.item_table, loaded.feedback.user_table)
    return all(
        table is None or encoder is None or table.encoder.columns == encoder.columns
        for table, encoder in zip(tables, (saved.item_encoder, saved.user_encoder), strict=True)
    )
