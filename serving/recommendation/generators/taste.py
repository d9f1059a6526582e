"""Which videos of a viewer's history say what they like, and how much."""

from serving.recommendation.ports import Viewer

_WEIGHTS = {"like": 1.0, "save": 1.0, "share": 1.0, "comment": 0.6, "click": 0.3}
_AGEING = 0.95  # each video further back counts this much of the one after it
_WATCHED_FROM = 0.5  # share of a video from which on watching it says that it was liked


def liked_rows(viewer: Viewer, limit: int) -> dict[int, float]:
    """Return up to `limit` rows that a viewer liked lately, with weights in (0, 1]: the newest of them first.

    A video counts by the strongest thing done with it, unless it was disliked or hidden since.
    """
    weights: dict[int, float] = {}
    against: set[int] = set()
    for past in viewer.history:  # newest first
        if past.kind in ("dislike", "hide"):
            against.add(past.row)
            continue
        weight = _WEIGHTS.get(past.kind, 0.0)
        if past.kind == "watch" and past.value >= _WATCHED_FROM:
            weight = min(1.0, past.value)
        if weight > 0 and past.row not in against and (past.row in weights or len(weights) < limit):
            weights[past.row] = max(weight, weights.get(past.row, 0.0))
    return {row: weight * _AGEING**place for place, (row, weight) in enumerate(weights.items())}
