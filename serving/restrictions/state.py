"""The verdicts in force, looked up by post and by item.

Made of `moderation.verdicts.v1` alone. Of two verdicts about a post the greater version counts, whatever order they
come in, so every replica comes to the same restrictions. A verdict restricts only items that its post's author owns:
naming somebody else's upload takes nothing down. Where several posts of the owner name an item, the strictest counts:
enforced before demoted, then the least factor. (Factors are not multiplied: one upload shown in ten posts was judged
ten times, and is no worse for it.)
"""

from collections import Counter, OrderedDict

import msgspec

from core.entries import Version
from core.moderation import Verdict
from serving.restrictions.restriction import Restriction, restriction_of

Pair = tuple[str, str]  # item id, owner's id

_CHANGES_KEPT = 50_000


class _Held(msgspec.Struct, frozen=True, gc=False):
    """A post that is restricted."""

    version: Version
    restriction: Restriction
    pairs: tuple[Pair, ...]


class RestrictionState:
    """One writer calls `apply` and `remove`; readers need no lock, and each look-up takes constant time.

    A restricted post with an item takes about 1 kB. Of posts that are clear only versions are kept (0.3 kB), of the
    last `cleared_kept` ones: all they are for is to refuse an older verdict that comes late.
    """

    def __init__(self, *, cleared_kept: int = 100_000) -> None:
        self._posts: dict[str, _Held] = {}
        self._items: dict[Pair, Restriction] = {}  # the strictest
        self._naming: dict[Pair, list[str]] = {}  # the posts that restrict it
        self._cleared: OrderedDict[str, Version] = OrderedDict()
        self._cleared_kept = cleared_kept
        self._post_counts: Counter[tuple[str, str]] = Counter()  # by state and class
        self._item_counts: Counter[str] = Counter()  # by state
        self.changed: list[Pair] = []  # items whose restriction changed, in order; another list begins when it is full

    # Reading --------------------------------------------------------------------------------------------------

    def of(self, item_id: str, owner_id: str) -> Restriction | None:
        """Return what restricts an item of this owner, or None."""
        return self._items.get((item_id, owner_id))

    def post(self, post_id: str) -> Restriction | None:
        """Return what restricts a post, or None for one that is clear or not known."""
        held = self._posts.get(post_id)
        return held.restriction if held is not None else None

    def items(self) -> list[Pair]:
        """Return all restricted items with the owners for whom they are, as of now."""
        return list(self._items)

    @property
    def n_items(self) -> int:
        """The number of restricted items."""
        return len(self._items)

    def __len__(self) -> int:
        """The number of restricted posts."""
        return len(self._posts)

    def counts(self) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
        """Return restricted posts by state and class (`none` where no class is named), and items by state."""
        posts, items = dict(self._post_counts), dict(self._item_counts)  # at once: the writer goes on
        return {key: n for key, n in posts.items() if n}, {state: n for state, n in items.items() if n}

    # Writing --------------------------------------------------------------------------------------------------

    def apply(self, verdict: Verdict) -> bool:
        """Take over a verdict; False when one of this version or a newer one is there.

        Once it returns, every look-up shows it.
        """
        restriction = restriction_of(verdict)
        if restriction is None:
            return self._replace(verdict.post_id, verdict.version, None)
        pairs = tuple((item_id, verdict.author_id) for item_id in dict.fromkeys(verdict.item_ids))
        return self._replace(verdict.post_id, verdict.version, _Held(verdict.version, restriction, pairs))

    def remove(self, post_id: str, version: Version) -> bool:
        """Forget a post as of `version`, as a clear verdict would; False when what is there is newer."""
        return self._replace(post_id, version, None)

    def _replace(self, post_id: str, version: Version, after: _Held | None) -> bool:
        before = self._posts.get(post_id)
        known = before.version if before is not None else self._cleared.get(post_id)
        if known is not None and version <= known:
            return False
        if after is not None:
            self._posts[post_id] = after
            self._cleared.pop(post_id, None)
            self._post_counts[_class_of(after)] += 1
        else:
            self._posts.pop(post_id, None)
            self._remember_cleared(post_id, version)
        if before is not None:
            self._post_counts[_class_of(before)] -= 1
        old = dict.fromkeys(before.pairs) if before is not None else {}
        new = dict.fromkeys(after.pairs, after.restriction) if after is not None else {}
        for pair, restriction in new.items():
            if pair not in old:
                self._naming.setdefault(pair, []).append(post_id)
            self._weigh(pair, post_id, restriction)
        gone = [pair for pair in old if pair not in new]
        for pair in gone:
            self._naming[pair].remove(post_id)
            self._weigh(pair, post_id, None)
        self._tell([*new, *gone])
        return True

    def _weigh(self, pair: Pair, post_id: str, says: Restriction | None) -> None:
        """Take into account what this post says of an item now. An item that stays restricted is so all the time."""
        before, after = self._items.get(pair), says
        if before is not None and (says is None or says.strictness() > before.strictness()):
            if before.post_id != post_id:
                return
            others = (self._posts[one].restriction for one in self._naming[pair])
            after = min(others, key=Restriction.strictness, default=None)
        if after is not None:
            self._items[pair] = after
            self._item_counts[after.state] += 1
        else:
            del self._items[pair], self._naming[pair]
        if before is not None:
            self._item_counts[before.state] -= 1

    def _tell(self, pairs: list[Pair]) -> None:
        if len(self.changed) >= _CHANGES_KEPT:
            self.changed = []
        self.changed.extend(pairs)

    def _remember_cleared(self, post_id: str, version: Version) -> None:
        self._cleared[post_id] = version
        self._cleared.move_to_end(post_id)
        if len(self._cleared) > self._cleared_kept:
            self._cleared.popitem(last=False)


def _class_of(held: _Held) -> tuple[str, str]:
    return held.restriction.state, held.restriction.harm or "none"
