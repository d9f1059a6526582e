import gc
import weakref

import pytest

from serving.garbage import spare_what_lives


class Node:
    pass


@pytest.fixture(autouse=True)
def thawed():
    yield
    gc.unfreeze()


def test_what_lives_is_not_looked_through_again():
    lives = [Node() for _ in range(1_000)]
    spare_what_lives()
    assert gc.get_freeze_count() >= len(lives)
    assert not any(one is lives for one in gc.get_objects())


def test_what_was_spared_is_freed_when_nothing_refers_to_it():
    lives = Node()
    gone = weakref.ref(lives)
    spare_what_lives()
    del lives
    assert gone() is None


def test_a_cycle_that_was_spared_is_found_by_the_next_call():
    lives = Node()
    lives.itself = lives
    gone = weakref.ref(lives)
    spare_what_lives()
    del lives
    gc.collect()
    assert gone() is not None
    spare_what_lives()
    assert gone() is None
