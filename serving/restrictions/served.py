"""The restrictions that answers obey now."""

from collections.abc import Callable

from core.entries import IndexEntry
from core.errors import Unavailable
from serving.restrictions.restriction import Restriction
from serving.restrictions.state import RestrictionState

_RETRY_AFTER_S = 5


class Restrictions:
    """What every answer asks before it shows something. Safe for concurrent use, without locks.

    Asking by item at the moment of the answer, and not when a verdict arrives, is what makes a verdict count for an
    item that is not there yet.
    """

    def __init__(self) -> None:
        self.current = RestrictionState()  # the follower replaces it when it had to build another
        self.ready: Callable[[], tuple[bool, str]] = lambda: (True, "")  # set by the follower, if there is one

    def of(self, item_id: str, owner_id: str) -> Restriction | None:
        """Return what restricts an item, or None. Only verdicts about posts of the item's owner count."""
        return self.current.of(item_id, owner_id)

    def enforces(self, entry: IndexEntry) -> bool:
        """Tell whether an item of the index is to be shown to nobody."""
        found = self.current.of(entry.item_id, entry.owner_id)
        return found is not None and found.enforced

    def post_state(self, post_id: str) -> Restriction | None:
        """Return what restricts a post in feeds, or None for one that is clear or not known."""
        return self.current.post(post_id)

    def check_ready(self) -> None:
        """Raise Unavailable while not every verdict of the log is known: what was enforced might be shown again."""
        ready, problem = self.ready()
        if not ready:
            raise Unavailable(f"not ready: {problem}", retry_after_s=_RETRY_AFTER_S)
