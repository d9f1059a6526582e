"""What lives long is kept from the garbage collector: it would look through all of it again and again."""

import gc


def spare_what_lives() -> None:
    """Collect, then have the collector pass over everything that is left, and over nothing it passed over before.

    A full collection goes through every element of every list and dict, with all threads waiting: among a million
    videos that is 130 ms, every few hundred answers. What is spared is freed all the same when nothing refers to it
    any more, unless it is part of a cycle: that is found by the next call.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
