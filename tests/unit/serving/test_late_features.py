import threading

import pytest

from core.errors import Unavailable
from serving.late_features import LateFeatures


class Reader:
    """Knows one row of each kind."""

    closed = False

    def item_features(self, item_ids):
        return [("item", one) for one in item_ids]

    def user_features(self, user_ids):
        return [("user", one) for one in user_ids]

    def close(self):
        self.closed = True


def test_features_are_opened_only_after_what_comes_first_and_say_so_before():
    ready, reader = threading.Event(), Reader()
    late = LateFeatures(lambda: reader, after=ready.is_set)
    with pytest.raises(Unavailable, match="being opened"):
        late.item_features(["i"])
    ready.set()
    late.wait(10)
    assert late.item_features(["i"]) == [("item", "i")]
    assert late.user_features(["u"]) == [("user", "u")]
    late.close()
    assert reader.closed


def test_features_that_cannot_be_opened_say_why():
    def broken():
        raise OSError("disk is gone")

    late = LateFeatures(broken, after=lambda: True)
    late.wait(10)
    with pytest.raises(Unavailable, match="disk is gone"):
        late.user_features(["u"])
    late.close()


def test_closing_does_not_wait_for_what_never_comes_first():
    opened = []
    late = LateFeatures(lambda: opened.append(1), after=lambda: False)
    late.close()
    assert opened == []
