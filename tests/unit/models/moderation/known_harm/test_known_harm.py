"""Known harm: exact within the distance, while hashes come and go."""

import threading
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInput
from models.moderation.known_harm import HashChange, Hit, KnownHarm, check_listable, format_hash, known_hits, parse_hash
from models.moderation.known_harm.bands import BandIndex, band_values, flips, radii, scan
from models.moderation.known_harm.index import MAX_LISTS

RNG = np.random.default_rng(7)


def random_hashes(n: int) -> np.ndarray:
    return RNG.integers(0, 2**64, n, dtype=np.uint64)


def change(phash: int | str, list_name: str = "terror", op: str = "add") -> HashChange:
    return HashChange(list_name=list_name, phash=phash if isinstance(phash, str) else format_hash(phash), op=op)


def flipped(value: int, *bits: int) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


def pairs(found) -> list[tuple[int, int, int]]:
    return sorted(zip(found.queries.tolist(), found.rows.tolist(), found.distances.tolist(), strict=True))


BASE = 0x0123_4567_89AB_CDEF


# --- hashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "abc", "0" * 15, "0" * 17, "g" * 16, "0x" + "0" * 14, "+" + "0" * 15, " " * 16])
def test_text_that_is_no_hash_is_refused(text):
    with pytest.raises(InvalidInput, match="16 hex characters"):
        parse_hash(text)


def test_hashes_are_text_and_numbers():
    assert parse_hash("00000000000000FF") == 255
    assert format_hash(255) == "00000000000000ff"


@pytest.mark.parametrize("phash", ["8000000000000000", "0" * 16, "f" * 16, "000000000000007f"])
def test_a_picture_without_content_cannot_be_listed(phash):
    with pytest.raises(InvalidInput, match="every blank picture"):
        check_listable(phash)


def test_a_picture_with_content_can():
    assert check_listable("00000000000000FF") == "00000000000000ff"


# --- bands -----------------------------------------------------------------------------------------------------------


def test_a_band_is_every_fourth_bit():
    for value in (*random_hashes(20).tolist(), 0, 2**64 - 1):
        for band in range(4):
            expected = sum((value >> (band + 4 * i) & 1) << i for i in range(16))
            assert int(band_values(np.array([value], np.uint64), band)[0]) == expected


def test_there_are_as_many_probes_as_is_said():
    def probes(distance: int) -> int:
        return sum(len(flips(bits)) for bits in radii(distance))

    assert [probes(distance) for distance in (0, 3, 6, 7, 8, 11, 12)] == [1, 4, 52, 68, 188, 548, 1108]
    assert len(set(flips(3).tolist())) == 697 and len(flips(-1)) == 0


@pytest.mark.parametrize("distance", range(65))
def test_a_neighbour_cannot_be_too_far_in_every_band(distance):
    assert sum(bits + 1 for bits in radii(distance)) >= min(distance, 64) + 1


@pytest.mark.parametrize("distance", range(13))
def test_every_neighbour_is_found_and_nothing_else(distance):
    """Many hashes near the queries, at every distance around the one asked for, spread over the bands at random."""
    queries = random_hashes(40)
    near = []
    for query in queries.tolist():
        for bits in range(max(0, distance - 2), distance + 3):
            near += [flipped(query, *RNG.choice(64, bits, replace=False).tolist()) for _ in range(4)]
    hashes = np.unique(np.concatenate([np.array(near, np.uint64), random_hashes(20_000)]))
    index = BandIndex(hashes)
    expected = pairs(scan(hashes, queries, distance))
    brute = [
        (q, r, (int(query) ^ int(hashes[r])).bit_count())
        for q, query in enumerate(queries.tolist())
        for r in np.flatnonzero(np.bitwise_count(hashes ^ np.uint64(query)) <= distance).tolist()
    ]
    assert expected == sorted(brute)
    # By tables at every size, not only where they are quicker than comparing with each.
    assert pairs(by_tables(index, queries, distance)) == expected
    assert pairs(index.search(queries, distance)) == expected


def by_tables(index: BandIndex, queries, distance: int):
    """Search by the tables though comparing with each would be quicker."""

    class Large(BandIndex):
        def __init__(self) -> None:
            self.__dict__ = index.__dict__
            self.asked = 0

        def __len__(self) -> int:
            return 2**40

    return Large().search(queries, distance)


@pytest.mark.parametrize("distance", range(13))
def test_however_the_bits_are_spread_over_the_bands_it_is_found(distance):
    """Every way to divide the differing bits among the bands, also the worst."""
    splits = [split for split in product(range(distance + 1), repeat=4) if sum(split) == distance]
    hashes = np.array(
        sorted(flipped(BASE, *(band + 4 * i for band in range(4) for i in range(split[band]))) for split in splits),
        np.uint64,
    )
    assert len(set(hashes.tolist())) == len(splits)
    query = np.array([BASE], np.uint64)
    assert len(pairs(by_tables(BandIndex(hashes), query, distance))) == len(splits)
    assert pairs(by_tables(BandIndex(hashes), query, distance - 1)) == []


def test_crowded_slots_are_searched_in_parts(monkeypatch):
    monkeypatch.setattr("models.moderation.known_harm.bands._PAIRS", 500)
    hashes = np.array(sorted({flipped(BASE, a, b) for a in range(0, 64, 4) for b in range(0, 64, 4)}), np.uint64)
    queries = np.array([BASE, flipped(BASE, 0), flipped(BASE, 1, 2, 3), 0], np.uint64)
    index = BandIndex(hashes)
    for distance in (2, 6):
        assert pairs(by_tables(index, queries, distance)) == pairs(scan(hashes, queries, distance))


def test_nothing_is_found_in_nothing_and_by_nothing():
    none = np.zeros(0, np.uint64)
    for distance in (0, 6, 12):
        assert pairs(BandIndex(none).search(random_hashes(3), distance)) == []
        assert pairs(BandIndex(random_hashes(3)).search(none, distance)) == []
        assert pairs(by_tables(BandIndex(random_hashes(3)), none, distance)) == []


def test_the_memory_is_as_said():
    index = BandIndex(np.unique(random_hashes(100_000)))
    assert (index.nbytes - 2**20) / 100_000 == pytest.approx(56, abs=0.1)  # 8 for the hash, 48 for the tables


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[4, 4096], ids=["tables", "buffer"])
def index(request) -> KnownHarm:
    return KnownHarm(fresh_limit=request.param)


def test_an_added_hash_is_found_at_once_up_to_its_distance(index):
    assert index.apply([change(BASE)]) == 1
    for bits in range(10):
        asked = format_hash(flipped(BASE, *range(bits)))
        (found,) = index.lookup([asked], distance=6)
        expected = [Hit(list_name="terror", known=format_hash(BASE), distance=bits)] if bits <= 6 else []
        assert found == expected


def test_a_removed_hash_is_gone_at_once_and_can_come_back(index):
    index.apply([change(BASE), change(flipped(BASE, 1)), *(change(int(h)) for h in random_hashes(10))])
    assert index.apply([change(BASE, op="remove")]) == 1
    (found,) = index.lookup([format_hash(BASE)], distance=0)
    assert found == []
    (found,) = index.lookup([format_hash(BASE)], distance=1)
    assert [hit.distance for hit in found] == [1]
    assert index.apply([change(BASE)]) == 1
    assert ("terror", format_hash(BASE)) in index


def test_doing_it_twice_is_doing_it_once(index):
    assert index.apply([change(BASE), change(BASE)]) == 1
    assert index.apply([change(BASE)]) == 0
    assert index.counts() == {"terror": 1}
    assert index.apply([change(BASE, op="remove"), change(BASE, op="remove")]) == 1
    assert index.apply([change(BASE, op="remove"), change(1234, op="remove")]) == 0
    assert index.counts() == {"terror": 0}
    assert index.applied == 2
    assert index.apply([]) == 0


def test_the_last_word_of_a_batch_counts(index):
    index.apply([change(BASE), change(BASE, op="remove"), change(1, op="remove"), change(1)])
    assert ("terror", format_hash(BASE)) not in index
    assert ("terror", format_hash(1)) in index


def test_a_hash_may_be_on_several_lists_and_leaves_each_by_itself(index):
    index.apply([change(BASE, "a"), change(BASE, "b"), *(change(int(h), "c") for h in random_hashes(6))])
    assert [hit.list_name for hit in index.lookup([format_hash(BASE)], distance=0)[0]] == ["a", "b"]
    index.apply([change(BASE, "a", op="remove")])
    assert [hit.list_name for hit in index.lookup([format_hash(BASE)], distance=0)[0]] == ["b"]
    assert index.counts() == {"a": 0, "b": 1, "c": 6}
    assert ("a", format_hash(BASE)) not in index and ("nothing", format_hash(BASE)) not in index


def test_the_nearest_of_each_list_is_told_nearest_first(index):
    index.apply([change(flipped(BASE, 1, 2), "a"), change(flipped(BASE, 1), "b"), change(flipped(BASE, 1, 2, 3), "b")])
    (found,) = index.lookup([format_hash(BASE)], distance=6)
    assert [(hit.list_name, hit.distance) for hit in found] == [("b", 1), ("a", 2)]


def test_of_equally_near_ones_the_smallest_is_told(index):
    near = sorted(flipped(BASE, bit) for bit in range(5))
    index.apply([change(value) for value in reversed(near)])
    assert index.lookup([format_hash(BASE)], distance=6)[0][0].known == format_hash(near[0])


def test_each_query_has_its_own_answer_in_the_order_asked(index):
    index.apply([change(BASE), change(flipped(BASE, *range(0, 60, 3)))])
    asked = [format_hash(v) for v in (0, BASE, flipped(BASE, *range(0, 60, 3)), BASE)]
    assert [len(hits) for hits in index.lookup(asked, distance=3)] == [0, 1, 1, 1]
    assert index.lookup([], distance=3) == []


def test_a_hash_that_is_none_changes_nothing(index):
    with pytest.raises(InvalidInput):
        index.apply([change(BASE), change("nonsense")])
    assert index.counts() == {} and index.applied == 0
    with pytest.raises(InvalidInput):
        index.lookup(["nonsense"], distance=3)


def test_there_is_a_most_of_lists():
    index = KnownHarm()
    index.apply([change(BASE, f"list-{i}") for i in range(MAX_LISTS)])
    (found,) = index.lookup([format_hash(BASE)], distance=0)
    assert len(found) == MAX_LISTS
    with pytest.raises(InvalidInput, match="64 is the most"):
        index.apply([change(BASE, "one-more")])
    assert len(index.counts()) == MAX_LISTS


def test_what_was_removed_is_dropped_from_the_tables():
    index = KnownHarm(fresh_limit=8)
    values = [int(h) for h in random_hashes(100)]
    index.apply([change(value) for value in values])
    full = index.nbytes
    index.apply([change(value, op="remove") for value in values[:90]])
    assert index.counts() == {"terror": 10}
    assert index.nbytes < full
    assert all(("terror", format_hash(value)) in index for value in values[90:])


CHANGES = st.lists(
    st.builds(
        change,
        st.integers(0, 12).map(lambda i: flipped(BASE, *range(i % 4), 10 + i)),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["add", "add", "remove"]),
    ),
    max_size=30,
)


@given(st.lists(CHANGES, max_size=5), st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_after_any_changes_it_finds_what_a_plain_set_does(batches, fresh_limit):
    index, listed = KnownHarm(fresh_limit=fresh_limit), set()
    for batch in batches:
        before = set(listed)
        for one in batch:
            (listed.add if one.op == "add" else listed.discard)((one.list_name, one.phash))
        assert index.apply(batch) == len(before ^ listed)
    for name in ("a", "b"):
        assert index.counts().get(name, 0) == sum(1 for listed_name, _ in listed if listed_name == name)
    found = {(hit.list_name, hit.distance) for hit in index.lookup([format_hash(BASE)], distance=3)[0]}
    expected: dict[str, int] = {}
    for name, phash in listed:
        distance = (int(phash, 16) ^ BASE).bit_count()
        if distance <= 3:
            expected[name] = min(expected.get(name, 64), distance)
    assert found == set(expected.items())


def test_readers_find_what_stays_while_others_change():
    """One hash is never touched and always found; one is switched on and off; many come and go, and tables are made."""
    index = KnownHarm(fresh_limit=64)
    stays, blinks = BASE, flipped(BASE, *range(32))
    index.apply([change(stays)])
    stop, failures, reads = threading.Event(), [], [0]

    def read() -> None:
        try:
            while not stop.is_set():
                found = index.lookup([format_hash(flipped(stays, 5))], distance=3)[0]
                assert [hit.known for hit in found] == [format_hash(stays)]
                reads[0] += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for round_number in range(300):
            index.apply([change(blinks, op="add" if round_number % 2 == 0 else "remove")])
            found = index.lookup([format_hash(blinks)], distance=0)[0]
            assert bool(found) is (round_number % 2 == 0)
            some = random_hashes(10).tolist()
            index.apply([change(value) for value in some])
            if round_number % 3 == 0:
                index.apply([change(value, op="remove") for value in some])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert reads[0] > 0
    assert index.counts()["terror"] == 1 + 200 * 10


# --- posts -----------------------------------------------------------------------------------------------------------


def test_each_post_gets_the_hits_of_its_own_media():
    index = KnownHarm()
    index.apply([change(BASE, "a"), change(BASE, "b")])
    near, far = format_hash(flipped(BASE, 1)), format_hash(flipped(BASE, *range(30)))
    found = known_hits(index, [{"m1": [far], "m2": [far, near]}, {}, {"m3": [far]}], distance=6)
    assert [len(hits) for hits in found] == [2, 0, 0]
    assert [(hit.list_name, hit.media_id, hit.phash, hit.known, hit.distance) for hit in found[0]] == [
        ("a", "m2", near, format_hash(BASE), 1),
        ("b", "m2", near, format_hash(BASE), 1),
    ]
    assert known_hits(index, [], distance=6) == []
