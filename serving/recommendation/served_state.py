"""The live state that recommendations are made from now."""

from serving.recommendation.live_state import LiveState


class ServedState:
    """The live state that answers now. The follower replaces it when it had to build another from the beginning.

    A request takes `current` once and keeps to it: rows of one state mean nothing in another.
    """

    def __init__(self, state: LiveState) -> None:
        self.current = state
