"""Places are taken one after another; who lends one gets one again."""

import asyncio

import pytest

from core.errors import Overloaded
from serving.gateway.places import Places


async def test_places_are_full_when_one_more_would_wait_beyond_the_queue():
    places = Places(1, 1, 1)
    assert not places.full
    async with places.taken():
        assert not places.full

        async def wait():
            async with places.taken():
                pass

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        assert places.full
    await waiting
    assert not places.full


async def test_who_stops_waiting_leaves_the_queue():
    places = Places(1, 1, 1)
    async with places.taken():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), places.taken():
                pass
        assert not places.full


async def test_a_place_that_is_lent_is_taken_by_another_and_had_again():
    places = Places(1, 1, 1)
    async with places.taken() as place:
        async with place.lent():
            async with places.taken():
                pass
        assert places._free.locked()
    assert not places._free.locked()


async def test_a_place_that_could_not_be_had_again_is_not_given_back_twice():
    places = Places(1, 1, 1)
    with pytest.raises(RuntimeError):
        async with places.taken() as place, place.lent():
            raise RuntimeError
    async with places.taken():
        assert places._free.locked()


async def test_no_more_wait_for_clients_than_may():
    places = Places(2, 1, 1)
    async with places.taken() as place, places.taken() as other, place.lent():
        with pytest.raises(Overloaded):
            async with other.lent():
                raise AssertionError
        assert places._free.locked() is False  # the other still has its own
