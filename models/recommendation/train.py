"""Training one recommender end to end: measure it on held-out items, fit it on everything, save it for the registry."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any

from core.clock import Clock, SystemClock
from core.errors import InvalidInput
from core.release import release
from models.recommendation.card import render_card
from models.recommendation.data import Loaded
from models.recommendation.evaluate import Measured, measure
from models.recommendation.ranker import Ranker
from models.recommendation.recommender import Recommender, Report, silent
from models.recommendation.search import OBJECTIVE, Method, Trial, search
from models.recommendation.splits import leave_last_out
from models.recommendation.system import FullSystem
from models.recommendation.two_tower import TwoTower
from models.recommendation.weights import SAVABLE, save_model
from models.recommendation.zoo import LADDER, REFERENCE, Entry, find_entry
from models.registry.manifest import CARD, WEIGHTS, Manifest, file_sha256
from models.training.lesson import Trainer
from models.training.on_ray import RayTrainer

PREFIX = "recommendation-"
RANKER = "ranker"
TRAINABLE = (*(name for name, entry in LADDER.items() if entry.build().name in SAVABLE), RANKER)


@dataclass(frozen=True)
class Trained:
    """A model folder for the registry, and what was measured."""

    folder: Path
    manifest: Manifest
    trials: tuple[Trial, ...] = ()  # of the search, in the order they were tried


def train_recommender(
    name: str,
    loaded: Loaded,
    out: Path,
    *,
    command: str,
    method: Method = "none",
    trials: int = 20,
    settings: Mapping[str, Any] | None = None,
    trainer: RayTrainer | None = None,
    report: Report = silent,
    clock: Clock | None = None,
) -> Trained:
    """Search (on validation), measure (on test), fit on all feedback, and write a folder the registry accepts.

    `ranker` trains the full system and keeps its ranker alone, for serving with generators of its own.

    Args:
        settings: of the model, instead of the defaults; a search leaves them as they are.
        trainer: trains towers and ranker on a cluster, instead of this process. The rest is fitted here.

    Raises:
        InvalidInput: no such model, or one that cannot be saved, or has nothing to search or for a cluster to train.
        Unavailable: the cluster failed.
    """
    entry = trainable(name).with_settings(settings or {})
    if method != "none" and not entry.space:
        raise InvalidInput(f"{name} has no settings left to search; leave the search out")
    if trainer is not None:
        entry = taught_by(entry, trainer)
    feedback = loaded.feedback
    changes, tried = search(entry, leave_last_out(feedback, back=1), method=method, trials=trials, report=report)
    test = leave_last_out(feedback)
    model, reference = entry.build(changes), find_entry(REFERENCE).build()
    model.fit(test.train, report)
    reference.fit(test.train)
    measured = measure(model.score(test.users), test)
    compared = measure(reference.score(test.users), test)
    model.fit(feedback, report)
    out.mkdir(parents=True, exist_ok=True)
    if name == RANKER:
        assert isinstance(model, FullSystem)
        names = tuple(generator.name for generator in model.generators)
        save_model(model.ranker, feedback, out / WEIGHTS, generators=names)
    else:
        save_model(model, feedback, out / WEIGHTS)
    manifest = Manifest(
        model=f"{PREFIX}{name}",
        sha256=file_sha256(out / WEIGHTS),
        created=(clock or SystemClock()).now().astimezone(UTC).isoformat(timespec="seconds"),
        code_version=release(),
        command=command,
        seed=int(getattr(model.config, "seed", 0)),
        data={
            **loaded.source,
            "pairs": len(feedback.positives()),
            "users": feedback.n_users,
            "items": feedback.n_items,
            "rule": f"a rating from {loaded.rule.rating_from:g}, or watched from {loaded.rule.watched_from:.0%}",
        },
        settings=asdict(model.config) | ({} if trainer is None else {"workers": trainer.workers.count}),
        metrics={
            "users": len(test),
            "model": {"name": name, **_figures(measured)},
            "reference": {"name": REFERENCE, **_figures(compared)},
            **({"search": _searched(method, tried)} if tried else {}),
        },
    )
    manifest.write(out)
    (out / CARD).write_text(render_card(manifest, entry.what, manifest.settings), encoding="utf-8")
    return Trained(out, manifest, tuple(tried))


def trainable(name: str) -> Entry:
    """Return the ladder's entry behind a name; raises InvalidInput naming what can be trained and saved."""
    if name not in TRAINABLE:
        raise InvalidInput(f"{name!r} cannot be trained for serving; models are {', '.join(TRAINABLE)}")
    return find_entry(FullSystem.name if name == RANKER else name)


def taught_by(entry: Entry, trainer: Trainer) -> Entry:
    """Return the entry of the same model, whose towers and ranker are trained by `trainer`.

    Raises:
        InvalidInput: it has neither.
    """

    def make(config: Any) -> Recommender:
        model = entry.make(config)
        parts = [model.ranker, *model.generators] if isinstance(model, FullSystem) else [model]
        taught = [part for part in parts if isinstance(part, TwoTower | Ranker)]
        if not taught:
            raise InvalidInput(f"{entry.name} is not trained step by step: there is nothing to do for workers")
        for part in taught:
            part.trainer = trainer
        return model

    made = replace(entry, make=make)
    made.build()
    return made


def _searched(method: Method, tried: Sequence[Trial]) -> dict[str, Any]:
    best = max(tried, key=lambda trial: trial.value)
    return {"method": method, "trials": len(tried), "chosen": best.changes, f"validation_{OBJECTIVE}": best.value}


def _figures(measured: Measured) -> dict[str, Any]:
    return {"values": measured.values, "intervals": {name: measured.interval(name) for name in measured.per_user}}
