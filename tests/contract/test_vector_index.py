"""What every `VectorIndex` does: the plain dictionary that serves as the oracle, and the live index of every kind."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from core.entries import Version, unpack_vector
from core.errors import InvalidInput, InvalidVector
from core.ports import SearchFilter, VectorIndex
from core.settings import IndexSettings
from models.index import LiveIndex
from tests.fakes.vector_index import DictIndex
from tests.unit.models.index.entries import DIM, MODEL, clustered, entry

KINDS = ("flat", "tree", "lsh", "ivf_flat", "ivf_sq8", "ivf_pq", "hnsw")
VECTORS = clustered(700)
Settle = Callable[[VectorIndex], None]


@pytest.fixture(params=["dictionary", *KINDS])
def index(request: pytest.FixtureRequest) -> Iterator[VectorIndex]:
    if request.param == "dictionary":
        yield DictIndex(DIM)
        return
    # Small segments: the tests go through sealing, training and merging, not only through the fresh buffer.
    live = LiveIndex(DIM, MODEL, IndexSettings(kind=request.param, train_at=64, pq_m=8), fresh_rows=32)
    yield live
    live.close()


def settle(index: VectorIndex) -> None:
    if isinstance(index, LiveIndex):
        assert index.settle(timeout_s=60)
        assert index.stats().last_rebuild_error is None


def fill(index: VectorIndex, n: int = 300) -> None:
    for i in range(n):
        assert index.apply(
            entry(f"item-{i}", VECTORS[i], owner_id=f"owner-{i % 3}", tags=[f"tag-{i % 5}"], category=f"cat-{i % 2}")
        )


def ids(hits: list) -> list[str]:
    return [hit.entry.item_id for hit in hits]


def test_an_item_is_found_by_its_own_vector_as_soon_as_apply_returns(index: VectorIndex) -> None:
    for i in range(150):
        index.apply(entry(f"item-{i}", VECTORS[i]))
        [hit] = index.search(VECTORS[i], 1)
        assert hit.entry.item_id == f"item-{i}"
        assert hit.score == pytest.approx(1.0, abs=2e-3)


def test_an_exact_search_returns_the_nearest_in_order(index: VectorIndex) -> None:
    fill(index)
    settle(index)
    for query in VECTORS[300:320]:
        hits = index.search(query, 10, exact=True)
        expected = np.sort(VECTORS[:300] @ query)[::-1][:10]
        assert [hit.score for hit in hits] == pytest.approx(expected.tolist(), abs=2e-3)


def test_an_approximate_search_finds_most_of_the_nearest(index: VectorIndex) -> None:
    fill(index, 600)
    settle(index)
    if isinstance(index, LiveIndex) and index.settings.kind != "flat":
        assert index.stats().structured_rows >= 400
    found = sum(
        len(set(ids(index.search(query, 10))) & set(ids(index.search(query, 10, exact=True))))
        for query in VECTORS[600:640]
    )
    assert found >= 0.8 * 400


def test_a_newer_state_replaces_an_older_one_and_an_older_one_changes_nothing(index: VectorIndex) -> None:
    assert index.apply(entry("a", VECTORS[0], at=5, title="five"))
    assert not index.apply(entry("a", VECTORS[1], at=4, title="four"))
    assert not index.apply(entry("a", VECTORS[1], at=5, title="five again"))
    assert index.apply(entry("a", VECTORS[2], at=5, seq=1, title="six"))
    current = index.get("a")
    assert current is not None and current.title == "six"
    assert len(index) == 1
    [hit] = index.search(VECTORS[0], 5)
    assert (hit.entry.title, hit.score) == ("six", pytest.approx(float(VECTORS[0] @ VECTORS[2]), abs=2e-3))


def test_a_removed_item_is_gone_at_once_and_stays_gone_for_older_entries(index: VectorIndex) -> None:
    fill(index)
    settle(index)
    assert index.remove("item-7", Version(time_us=10, seq=0))
    assert "item-7" not in ids(index.search(VECTORS[7], 300, exact=True))
    assert "item-7" not in ids(index.search(VECTORS[7], 10))
    assert index.get("item-7") is None
    assert not index.apply(entry("item-7", VECTORS[7], at=9))
    assert not index.apply(entry("item-7", VECTORS[7], at=10))
    assert index.apply(entry("item-7", VECTORS[7], at=11))
    assert ids(index.search(VECTORS[7], 1)) == ["item-7"]


def test_removing_as_of_an_earlier_time_than_the_item_changes_nothing(index: VectorIndex) -> None:
    index.apply(entry("a", VECTORS[0], at=5))
    assert not index.remove("a", Version(time_us=4, seq=0))
    assert index.get("a") is not None
    assert index.remove("a", Version(time_us=5, seq=0))
    assert not index.remove("a", Version(time_us=5, seq=0))


def test_a_removal_that_overtakes_its_item_keeps_it_out(index: VectorIndex) -> None:
    assert index.remove("a", Version(time_us=5, seq=0))
    assert not index.apply(entry("a", VECTORS[0], at=3))
    assert len(index) == 0


@pytest.mark.parametrize(
    "fields", [{"state": "hidden"}, {"unsafe": True}, {"visibility": "private"}, {"visibility": "unlisted"}], ids=str
)
def test_an_item_that_may_not_be_seen_is_never_returned_but_stays_known(index: VectorIndex, fields: dict) -> None:
    fill(index)
    settle(index)
    assert index.apply(entry("item-3", VECTORS[3], at=2, **fields))
    assert "item-3" not in ids(index.search(VECTORS[3], 10))
    assert "item-3" not in ids(index.search(VECTORS[3], 300, exact=True))
    assert index.get("item-3") is not None
    assert len(index) == 300
    assert index.apply(entry("item-3", VECTORS[3], at=3))
    assert ids(index.search(VECTORS[3], 1)) == ["item-3"]


def test_an_owner_finds_their_own_private_items_but_not_hidden_ones(index: VectorIndex) -> None:
    index.apply(entry("mine", VECTORS[0], owner_id="ann", visibility="private"))
    index.apply(entry("theirs", VECTORS[1], owner_id="bob", visibility="private"))
    index.apply(entry("hidden", VECTORS[2], owner_id="ann", visibility="private", state="hidden"))
    index.apply(entry("public", VECTORS[3], owner_id="bob"))
    assert set(ids(index.search(VECTORS[0], 10, SearchFilter(include_private_of="ann")))) == {"mine", "public"}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (SearchFilter(owner_id="ann"), {"a", "b"}),
        (SearchFilter(category="cats"), {"a", "c"}),
        (SearchFilter(language="de"), {"b"}),
        (SearchFilter(kind="video"), {"c"}),
        (SearchFilter(tags_any=("red", "blue")), {"a", "b"}),
        (SearchFilter(region="AT"), {"b", "c"}),
        (SearchFilter(exclude_item_ids=("a", "c")), {"b"}),
        (SearchFilter(exclude_categories=("cats",)), {"b"}),
        (SearchFilter(owner_id="ann", category="cats", tags_any=("red",)), {"a"}),
        (SearchFilter(owner_id="nobody"), set()),
        (SearchFilter(kind="sculpture"), set()),
    ],
    ids=(
        "owner",
        "category",
        "language",
        "kind",
        "tags",
        "region",
        "without-items",
        "without-categories",
        "several",
        "unknown-owner",
        "unknown-kind",
    ),
)
def test_each_filter_leaves_what_satisfies_it(index: VectorIndex, where: SearchFilter, expected: set[str]) -> None:
    index.apply(entry("a", VECTORS[0], owner_id="ann", category="cats", tags=["red"], blocked_regions=["AT", "CH"]))
    index.apply(entry("b", VECTORS[1], owner_id="ann", category="dogs", tags=["blue", "big"], language="de"))
    index.apply(entry("c", VECTORS[2], owner_id="bob", category="cats", kind="video", blocked_regions=["CH"]))
    assert set(ids(index.search(VECTORS[0], 10, where))) == expected
    for i in range(300, 600):  # and the same once the three are in a sealed segment among many
        index.apply(entry(f"far-{i}", VECTORS[i], owner_id="other", category="other", blocked_regions=["AT"]))
    settle(index)
    got = set(ids(index.search(VECTORS[0], 600, where)))
    assert {item for item in got if not item.startswith("far-")} == expected


def test_a_selective_filter_still_gives_k_results_where_they_exist(index: VectorIndex) -> None:
    fill(index, 600)
    for i in range(600, 612):
        index.apply(entry(f"rare-{i}", -VECTORS[0], category="rare"))  # as far from the query as can be
    settle(index)
    assert len(index.search(VECTORS[0], 12, SearchFilter(category="rare"))) == 12
    assert len(index.search(VECTORS[0], 50, SearchFilter(owner_id="owner-1", tags_any=("tag-2",)))) == 40
    assert len(index.search(VECTORS[0], 612)) == 612


def test_an_entry_comes_back_as_it_went_in(index: VectorIndex) -> None:
    given = entry(
        "ü-1",
        VECTORS[0],
        at=1_700_000_000_000_000,
        seq=2**40,
        kind="video",
        media_id="ab" * 32,
        phash="00ff" * 4,
        title="Köln",
        description="d" * 500,
        tags=["x", "y"],
        language="de",
        category="c",
        blocked_regions=["AT"],
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )
    index.apply(given)
    [hit] = index.search(VECTORS[0], 1)
    for got in (index.get("ü-1"), hit.entry):
        assert got is not None
        assert {name: getattr(got, name) for name in got.__struct_fields__ if name != "vector"} == {
            name: getattr(given, name) for name in given.__struct_fields__ if name != "vector"
        }
        np.testing.assert_allclose(unpack_vector(got.vector), VECTORS[0], atol=1e-3)


@pytest.mark.parametrize(
    "vector",
    [
        np.full(DIM, np.nan, dtype="<f4"),
        np.full(DIM, np.inf, dtype="<f4"),
        np.zeros(DIM, dtype="<f4"),
        np.ones(DIM + 1, dtype="<f4"),
        np.ones(0, dtype="<f4"),
    ],
    ids=["nan", "infinite", "zero", "wrong dimension", "empty"],
)
def test_a_vector_without_a_direction_is_refused(index: VectorIndex, vector: np.ndarray) -> None:
    good = entry("a", VECTORS[0])
    fields = {name: getattr(good, name) for name in good.__struct_fields__ if name != "vector"}
    with pytest.raises(InvalidVector):
        index.apply(type(good)(vector=vector.tobytes(), **fields))
    assert len(index) == 0
    with pytest.raises(InvalidVector):
        index.search(vector.astype(np.float32), 3)


def test_the_length_of_a_vector_does_not_matter(index: VectorIndex) -> None:
    index.apply(entry("a", VECTORS[0] * np.float32(1e20)))
    index.apply(entry("b", VECTORS[1] * np.float32(1e-20)))
    assert index.search(VECTORS[0] * np.float32(1e-18), 1)[0].score == pytest.approx(1.0, abs=2e-3)
    assert index.search(VECTORS[1] * np.float32(1e18), 1)[0].entry.item_id == "b"


def test_an_empty_index_answers_with_nothing_and_k_must_be_positive(index: VectorIndex) -> None:
    assert index.search(VECTORS[0], 5) == []
    assert index.get("a") is None
    with pytest.raises(InvalidInput):
        index.search(VECTORS[0], 0)
