"""Every model of the ladder by name: how to make one, and which settings are worth searching."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from core.errors import InvalidInput, NotFound
from models.recommendation.bpr import Bpr, BprConfig
from models.recommendation.content import ContentBased, ContentConfig
from models.recommendation.factorization import FactorizationConfig, SgdFactorization, Wals
from models.recommendation.item_weights import (
    Ease,
    EaseConfig,
    ItemNeighbours,
    NeighboursConfig,
    Transitions,
    TransitionsConfig,
)
from models.recommendation.popularity import Popularity, PopularityConfig
from models.recommendation.recommender import Recommender
from models.recommendation.system import QUICK, FullSystem, SystemConfig, quick_system
from models.recommendation.towers import TowerConfig
from models.recommendation.two_tower import IdTwoTower, SequenceTwoTower, TwoTower


@dataclass(frozen=True)
class Entry:
    """A model of the ladder. `space` maps settings to the values a search tries; the defaults are among them."""

    name: str
    what: str
    make: Callable[[Any], Recommender]
    default: Any
    space: Mapping[str, tuple[Any, ...]]
    slow: bool = False  # searched only when it is asked for by name

    def build(self, changes: Mapping[str, Any] | None = None) -> Recommender:
        """Return a model that is not fitted, with some settings changed. Raises InvalidInput naming what is wrong."""
        return self.make(self._settings(changes or {}))

    def with_settings(self, changes: Mapping[str, Any]) -> "Entry":
        """Return an entry with other defaults; what was given is not searched. Raises InvalidInput."""
        space = {name: values for name, values in self.space.items() if name not in changes}
        return replace(self, default=self._settings(changes), space=space)

    def _settings(self, changes: Mapping[str, Any]) -> Any:
        if not changes:
            return self.default
        try:
            return TypeAdapter(type(self.default)).validate_python(_changed(self.name, self.default, changes))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise InvalidInput(f"{self.name} cannot have these settings: {wrong}") from error


def _changed(name: str, default: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changed settings as plain data; those of a part of the model (`ranker`) are in an object of their own."""
    plain = asdict(default)
    unknown = sorted(set(changes) - set(plain))
    if unknown:
        raise InvalidInput(f"{name} has no setting {', '.join(unknown)}; it has {', '.join(sorted(plain))}")
    for key, value in changes.items():
        part = getattr(default, key)
        plain[key] = (
            _changed(f"{name}'s {key}", part, value) if is_dataclass(part) and isinstance(value, dict) else value
        )
    return plain


_RECENT = 5.0

LADDER: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("popularity", "what everybody likes", Popularity, PopularityConfig(), {}),
        Entry(
            "trending",
            "what everybody liked lately",
            Popularity,
            PopularityConfig(half_life_days=30),
            {"half_life_days": (7.0, 30.0, 90.0)},
        ),
        Entry(
            "content",
            "like what you liked, by words and tags",
            ContentBased,
            ContentConfig(),
            {"dim": (32, 64, 128), "decay": (5.0, 20.0, 100.0)},
        ),
        Entry(
            "item-knn",
            "nearest items by who liked them",
            ItemNeighbours,
            NeighboursConfig(),
            {"neighbours": (5, 10, 20, 50, 100, 200), "shrink": (0.0, 2.0, 10.0, 50.0)},
        ),
        Entry("ease", "linear autoencoder", Ease, EaseConfig(), {"l2": (50.0, 100.0, 200.0, 400.0, 800.0)}),
        Entry(
            "bpr",
            "pairwise factorization, by implicit",
            Bpr,
            BprConfig(),
            {
                "factors": (32, 64),
                "learning_rate": (0.003, 0.01, 0.03),
                "regularization": (0.001, 0.01, 0.05),
                "iterations": (30, 100, 300),
            },
        ),
        Entry("wals-32", "WALS with 32 factors, the reference", Wals, FactorizationConfig(32, 1.0, 1.0, 10), {}),
        Entry(
            "wals",
            "weighted factorization, by implicit",
            Wals,
            FactorizationConfig(64, 0.2, 0.5),
            {"factors": (32, 64, 128), "unobserved_weight": (0.1, 0.2, 0.5, 1.0), "l2": (0.1, 0.5, 2.0, 8.0)},
        ),
        Entry(
            "mf-sgd",
            "weighted factorization by SGD",
            SgdFactorization,
            FactorizationConfig(64, 0.2, 0.5, 60, learning_rate=0.03),
            {"unobserved_weight": (0.1, 0.2, 0.5), "l2": (0.5, 2.0)},
        ),
        Entry(
            "ease-recent",
            "linear autoencoder, recent history first",
            Ease,
            EaseConfig(decay=_RECENT),
            {"l2": (50.0, 100.0, 200.0, 400.0), "decay": (2.0, 5.0, 15.0)},
        ),
        Entry(
            "transitions",
            "what is liked soon after what",
            Transitions,
            TransitionsConfig(),
            {"window": (5, 20), "decay": (2.0, 3.0, 5.0), "smoothing": (5.0, 20.0, 50.0), "backward": (0.5, 1.0)},
        ),
        Entry(
            "two-tower-id",
            "two towers by ids",
            IdTwoTower,
            TowerConfig(features=False),
            {"dropout": (0.2, 0.4), "log_q": (0.5, 1.0), "temperature": (0.07, 0.1, 0.15)},
            slow=True,
        ),
        Entry(
            "two-tower",
            "two towers by ids and features",
            TwoTower,
            TowerConfig(),
            {"dropout": (0.2, 0.4), "log_q": (0.5, 1.0), "id_dropout": (0.0, 0.1)},
            slow=True,
        ),
        Entry(
            "sequence",
            "two towers, a transformer over the history",
            SequenceTwoTower,
            TowerConfig(history="attention"),
            {"dropout": (0.3, 0.5), "log_q": (0.5, 1.0), "layers": (1, 2)},
            slow=True,
        ),
        Entry(
            "quick-system",
            "generators, then the ranker, fitted in a third of the time",
            quick_system,
            QUICK,
            {"each": (50, 100, 200)},
            slow=True,
        ),
        Entry(
            "full-system",
            "generators, then the ranker",
            FullSystem,
            SystemConfig(),
            {"each": (50, 100, 200), "held_out": (2, 4, 8)},
            slow=True,
        ),
    )
}

REFERENCE = "wals-32"
BASELINES = ("wals", "bpr", "ease", "item-knn")  # the library's models, tuned, that the full system has to beat


def find_entry(name: str) -> Entry:
    """Return the entry of that name; raises NotFound naming the ones there are."""
    if name not in LADDER:
        raise NotFound(f"there is no recommendation model {name!r}; there are: {', '.join(LADDER)}")
    return LADDER[name]
