"""The full system, offline: several generators propose, the ranker orders. Stacked without leaks.

The ranker learns from the last few relevant items of each user, with generators that were fitted without them; then the
generators learn from everything. What the ranker sees of them (places in lists, scaled scores) stays
comparable, and its own item vectors stay those it learned with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.recommendation.candidates import Candidates, propose
from models.recommendation.content import ContentBased, ContentConfig
from models.recommendation.factorization import FactorizationConfig, Wals
from models.recommendation.feedback import PAD, Feedback, Users
from models.recommendation.item_weights import Ease, EaseConfig, ItemNeighbours, NeighboursConfig, Transitions
from models.recommendation.popularity import Popularity, PopularityConfig
from models.recommendation.ranker import Examples, Ranker, RankerConfig, outcomes
from models.recommendation.recommender import Recommender, Report, Scores, silent
from models.recommendation.splits import Split, leave_last_out
from models.recommendation.towers import TowerConfig
from models.recommendation.two_tower import IdTwoTower, TwoTower


@dataclass(frozen=True)
class SystemConfig:
    """`each`: items a generator proposes. `held_out`: relevant items of each user that teach the ranker. `newcomers`:
    share of users who teach it once more, as if nothing were known of them but their features."""

    each: int = 100
    held_out: int = 4
    newcomers: float = 0.5
    tune_epochs: int = 6
    ranker: RankerConfig = field(default_factory=RankerConfig)


def default_generators() -> list[Recommender]:
    """Return the generators of the default system, not fitted."""
    return [
        IdTwoTower(),
        TwoTower(),
        Transitions(),
        Ease(EaseConfig(decay=5.0)),
        ItemNeighbours(NeighboursConfig(decay=5.0)),
        Wals(FactorizationConfig(factors=64, l2=0.5, decay=5.0)),
        ContentBased(),
        Popularity(PopularityConfig(half_life_days=30)),
    ]


QUICK = SystemConfig(held_out=3, tune_epochs=3, ranker=RankerConfig(epochs=6))


def quick_system(config: SystemConfig = QUICK) -> "FullSystem":
    """Return a system that is fitted in about a third of the time: one pair of towers, fewer passes. For a demo."""
    generators: list[Recommender] = [TwoTower(TowerConfig(epochs=10)), *default_generators()[2:]]
    return FullSystem(config, generators)


class FullSystem:
    """Generators and ranker as one recommender: items that nobody proposes are ranked last."""

    name = "full-system"

    def __init__(self, config: SystemConfig | None = None, generators: list[Recommender] | None = None) -> None:
        self.config = config or SystemConfig()
        self.generators = default_generators() if generators is None else generators
        self.ranker = Ranker(self.config.ranker)
        names = [generator.name for generator in self.generators]
        if not names or len(set(names)) != len(names):
            raise InvalidInput(f"a system needs generators with different names, got {', '.join(names) or 'none'}")

    def fit(self, feedback: Feedback, report: Report = silent) -> None:
        examples, items = self.examples(feedback, report)
        self.ranker.fit(examples, items, report)
        for generator in self.generators:
            if isinstance(generator, TwoTower):  # goes on from the weights it has, which costs a quarter
                generator.fine_tune(feedback, epochs=self.config.tune_epochs, report=report)
            else:
                generator.fit(feedback, report)

    def examples(self, feedback: Feedback, report: Report = silent) -> tuple[Examples, NDArray[np.float32]]:
        """Fit the generators without the held-out items; return what the ranker learns from, and its item vectors."""
        held = _held_out(feedback, self.config.held_out)
        base = held[-1].train  # of the split furthest back: it lacks every held-out item
        for generator in self.generators:
            generator.fit(base, report)
        items = item_vectors(base)
        parts = []
        for split in held:
            candidates = propose(
                [generator.score(split.users) for generator in self.generators],
                split.seen.toarray(),
                each=self.config.each,
            )
            clicked, watched = _what_happened(feedback, split)
            liked, opened, taken = outcomes(split.relevant, clicked, watched, candidates.items)
            parts.append(Examples(split.users, candidates, opened, taken, liked))
        if self.config.newcomers:
            parts.append(self._newcomers(feedback, held[-1]))
        return joined_examples(parts), items

    def _newcomers(self, feedback: Feedback, split: Split) -> Examples:
        """Return some of the split's users as they were before they did anything; right is all they came to like.

        Without these the ranker never sees a user without a history, and ranks for newcomers worse than popularity.
        """
        drawn = np.flatnonzero(np.random.default_rng(0).random(len(split)) < self.config.newcomers)
        known = replace(split.users.part(drawn), now=np.full(len(drawn), -np.inf))
        clicked, watched = _what_happened(feedback, replace(split, users=known))
        relevant = (split.relevant[drawn] + known.history_matrix(feedback.n_items)) > 0
        nothing = np.full((len(drawn), 1), PAD, known.history.dtype)
        strangers = replace(
            split.users.part(drawn), place=np.full_like(known.place, PAD), history=nothing, disliked=nothing
        )
        candidates = propose(
            [generator.score(strangers) for generator in self.generators],
            np.zeros(relevant.shape, bool),
            each=self.config.each,
        )
        liked, opened, taken = outcomes(relevant, clicked, watched, candidates.items)
        return Examples(strangers, candidates, opened, taken, liked)

    def candidates(self, users: Users) -> Candidates:
        """Return what the generators propose for users, their own history left out."""
        scores = [generator.score(users) for generator in self.generators]
        seen = users.history_matrix(scores[0].shape[1]).toarray() > 0
        return propose(scores, seen, each=self.config.each)

    def score(self, users: Users) -> Scores:
        n_items = self.generators[0].score(users.part(slice(0, 1))).shape[1]
        out = np.full((len(users), n_items), -np.inf, np.float32)
        for start in range(0, len(users), 256):
            part = users.part(slice(start, start + 256))
            found = self.candidates(part)
            ranks = self.ranker.rank(part, found.items, found.evidence)
            rows, places = np.nonzero(np.isfinite(ranks))
            out[start + rows, found.items[rows, places]] = ranks[rows, places]
        return out

    def state(self) -> dict[str, NDArray]:
        arrays = {f"ranker.{name}": value for name, value in self.ranker.state().items()}
        for generator in self.generators:
            arrays |= {f"{generator.name}.{name}": value for name, value in generator.state().items()}
        return arrays

    def restore(self, state: Mapping[str, NDArray]) -> None:
        parts: list[Ranker | Recommender] = [self.ranker, *self.generators]
        for part in parts:
            prefix = f"{part.name}."
            part.restore({name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)})


def item_vectors(feedback: Feedback) -> NDArray[np.float32]:
    """Return fixed vectors of items for the ranker `(items, D)`: factors, words, features and popularity."""
    factors, content = Wals(FactorizationConfig(l2=0.5)), ContentBased(ContentConfig(dim=16))
    factors.fit(feedback)
    content.fit(feedback)
    counts = np.log1p(feedback.item_counts()).astype(np.float32)
    popularity = (counts - counts.mean()) / (counts.std() or 1.0)
    scaled = factors.item_vectors()
    scaled = scaled / (np.linalg.norm(scaled, axis=1).mean() or 1.0)
    return np.concatenate([scaled, content.item_vectors(), feedback.item_features(), popularity[:, None]], axis=1)


def _held_out(feedback: Feedback, count: int) -> list[Split]:
    splits = []
    for back in range(count):
        try:
            splits.append(leave_last_out(feedback, back=back))
        except InvalidInput:
            if not splits:
                raise
            break  # nobody has that many relevant items
    return splits


def _what_happened(feedback: Feedback, split: Split) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Return what each user did with items that they had not done at the split's moment: opened, and how much of it."""
    row_of = np.full(feedback.n_users, -1)
    row_of[split.users.place] = np.arange(len(split))
    row = row_of[feedback.user]
    now = np.full(feedback.n_users, np.inf)
    now[split.users.place] = split.users.now
    later = (row >= 0) & (feedback.time >= now[feedback.user])
    shape = (len(split), feedback.n_items)
    where = (row[later], feedback.item[later])
    opened = feedback.engagement[later] > 0
    return (
        sp.csr_matrix((opened.astype(np.float32), where), shape=shape),
        sp.csr_matrix((feedback.engagement[later], where), shape=shape),
    )


def joined_examples(parts: list[Examples]) -> Examples:
    """Put examples below each other, padded to one width."""
    width = max(part.candidates.items.shape[1] for part in parts)
    history = max(part.users.history.shape[1] for part in parts)
    disliked = max(part.users.disliked.shape[1] for part in parts)

    def wide(array: NDArray, size: int, fill: float) -> NDArray:
        missing = [(0, 0), (0, size - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]
        return np.pad(array, missing, constant_values=fill)

    def left(array: NDArray, size: int) -> NDArray:
        return np.pad(array, ((0, 0), (size - array.shape[1], 0)), constant_values=-1)

    users = [
        replace(part.users, history=left(part.users.history, history), disliked=left(part.users.disliked, disliked))
        for part in parts
    ]
    names = ("place", "history", "disliked", "features", "now")
    return Examples(
        users=Users(**{name: np.concatenate([getattr(one, name) for one in users]) for name in names}),
        candidates=Candidates(
            np.concatenate([wide(part.candidates.items, width, -1) for part in parts]),
            np.concatenate([wide(part.candidates.evidence, width, 0.0) for part in parts]),
        ),
        clicked=np.concatenate([wide(part.clicked, width, 0.0) for part in parts]),
        watched=np.concatenate([wide(part.watched, width, 0.0) for part in parts]),
        liked=np.concatenate([wide(part.liked, width, 0.0) for part in parts]),
    )
