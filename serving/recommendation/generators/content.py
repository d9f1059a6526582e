"""What is like the videos a viewer liked lately, and like what they searched for, by the words that describe it."""

import numpy as np
from numpy.typing import NDArray

from serving.recommendation.generators.picking import NO_PROPOSAL, best_of, eligible
from serving.recommendation.generators.taste import liked_rows
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Proposal, Rows, Viewer
from serving.recommendation.words import content_vector, weighted_words

_LIKED = 8  # videos looked at
_QUERIES = 2
_POOL_EACH = 500  # rows that share a word with one of them, to be compared with all
_PER_WORD = 250
_QUERY_WEIGHT = 0.5
_LEAST = 0.1  # a cosine this low is chance: the standard deviation of unrelated ones is 1/8


class Content:
    """Proposes videos near those liked lately by content vector.

    Which videos are compared: for each liked one, some that share a word with it, from the rarest word on; of a
    frequent word the newest videos and a sample of the others. The score is the greatest weighted cosine.
    """

    name = "content"

    def __init__(self, state: LiveState) -> None:
        self._state = state

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        videos = self._state.videos
        pools, vectors, weights = [], [], []
        for row, weight in liked_rows(viewer, _LIKED).items():
            pools.append(self._related(list(videos.words(row))))
            vectors.append(videos.content[row])
            weights.append(weight)
        for query in viewer.queries[:_QUERIES]:
            words = weighted_words(query, (), "")
            pools.append(self._related(list(words)))
            vectors.append(content_vector(words))
            weights.append(_QUERY_WEIGHT)
        rows: Rows = np.unique(np.concatenate(pools)).astype(np.int64) if pools else np.zeros(0, np.int64)
        rows = rows[rows < videos.rows]  # a video that is being created is found by its words before it is there
        if not len(rows):
            return NO_PROPOSAL
        rows = rows[eligible(self._state, viewer, rows)]
        queries = np.stack(vectors) * np.array(weights, np.float32)[:, None]
        scores = (videos.content[rows] @ queries.T).max(axis=1)
        near = scores > _LEAST
        return best_of(rows[near], scores[near], limit)

    def _related(self, words: list[str]) -> NDArray[np.int32]:
        videos = self._state.videos
        parts: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
        room = _POOL_EACH
        for bucket in videos.rarest_buckets(words):
            parts.append(videos.by_word.sample(bucket, min(_PER_WORD, room)))
            room -= parts[-1].size
            if room < 2:
                break
        return np.concatenate(parts)
