"""The live state that recommendations are made from now."""

from collections.abc import Callable

from serving.recommendation.live_state import LiveState


class ServedState:
    """The live state that answers now. The follower replaces it when it had to build another from the beginning.

    A request takes `current` once and keeps to it: rows of one state mean nothing in another.
    """

    def __init__(self, state: LiveState) -> None:
        self.current = state
        self._before_another: list[Callable[[LiveState], None]] = []

    def before_another(self, callback: Callable[[LiveState], None]) -> None:
        """Have `callback(state)` called before another state answers, by whoever replaces it, who waits for that."""
        self._before_another.append(callback)

    def serve(self, state: LiveState) -> None:
        """Answer from this state, which may be the one that does already."""
        if state is not self.current:
            for callback in self._before_another:
                callback(state)
            self.current = state
