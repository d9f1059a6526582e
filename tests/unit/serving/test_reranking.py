import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.entries import IndexEntry, Version, pack_vector
from core.ports import Hit
from serving.reranking import RerankRules, hamming, rerank
from serving.restrictions.restriction import Restriction

DIM = 4
RULES = RerankRules(k=10, min_score=0.3, near_duplicate_bits=4, near_duplicate_score=0.97)


def entry(item_id: str, *, direction: int = 0, phash: str = "", media: str | None = None, **fields) -> IndexEntry:
    vector = np.zeros(DIM, dtype=np.float32)
    vector[direction] = 1.0
    return IndexEntry(
        item_id=item_id,
        version=Version(1, 0),
        media_id=media or f"{abs(hash(item_id)):064x}"[-64:],
        owner_id=fields.pop("owner_id", "owner"),
        vector=pack_vector(vector),
        model_version="m/1",
        phash=phash,
        event_id="evt",
        **fields,
    )


def unrestricted(item_id: str, owner_id: str) -> None:
    """No verdict restricts anything."""


def taken_down(item_id: str) -> Restriction:
    return Restriction("enforced", 0.0, "violence", f"decision-{item_id}", "post")


def demoted(item_id: str, factor: float = 0.5) -> Restriction:
    return Restriction("demoted", factor, "spam", f"decision-{item_id}", "post")


def answer(
    hits: list[Hit],
    rules: RerankRules = RULES,
    restricted: dict[str, Restriction] | None = None,
    **current: IndexEntry | None,
):
    now = {hit.entry.item_id: hit.entry for hit in hits} | current
    return rerank(hits, rules, now.get, lambda item_id, owner_id: (restricted or {}).get(item_id))


def reasons(reranked) -> dict[str, str | None]:
    return {verdict.item_id: verdict.reason for verdict in reranked.verdicts}


def test_results_come_best_first_and_every_candidate_has_a_verdict():
    reranked = answer([Hit(0.5, entry("b")), Hit(0.9, entry("a")), Hit(0.1, entry("c"))])
    assert [hit.entry.item_id for hit in reranked.results] == ["a", "b"]
    assert [(verdict.item_id, verdict.rank, verdict.position) for verdict in reranked.verdicts] == [
        ("a", 0, 0),
        ("b", 1, 1),
        ("c", 2, None),
    ]
    assert reasons(reranked)["c"] == "below-min-score"


def test_nothing_is_an_answer():
    assert answer([Hit(0.2, entry("a")), Hit(0.1, entry("b"))]).results == []
    assert answer([]).results == []


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (None, "gone"),
        (entry("a", state="hidden"), "hidden"),
        (entry("a", unsafe=True), "unsafe"),
        (entry("a", visibility="private"), "private"),
        (entry("a", visibility="unlisted"), "private"),
        (entry("a", blocked_regions=["DE"]), "blocked-region"),
        (entry("a", media="f" * 64), "changed"),
    ],
)
def test_what_became_inadmissible_after_the_index_was_searched_is_left_out(now, reason):
    rules = msgspec.structs.replace(RULES, region="DE")
    reranked = answer([Hit(0.9, entry("a"))], rules, a=now)
    assert reranked.results == []
    assert reasons(reranked) == {"a": reason}


def test_an_owner_sees_their_own_private_items():
    rules = msgspec.structs.replace(RULES, include_private_of="me")
    hits = [
        Hit(0.9, entry("mine", visibility="private", owner_id="me")),
        Hit(0.8, entry("theirs", visibility="private")),
    ]
    assert reasons(answer(hits, rules)) == {"mine": None, "theirs": "private"}


def test_the_query_image_is_not_its_own_answer():
    query = "a" * 64
    rules = msgspec.structs.replace(RULES, query_media_id=query)
    assert reasons(answer([Hit(1.0, entry("self", media=query))], rules)) == {"self": "query-image"}


def test_the_same_bytes_are_shown_once_and_the_verdict_names_the_one_that_stayed():
    media = "b" * 64
    reranked = answer([Hit(0.8, entry("second", media=media)), Hit(0.9, entry("first", media=media))])
    assert [hit.entry.item_id for hit in reranked.results] == ["first"]
    assert reranked.verdicts[1].reason == "duplicate"
    assert reranked.verdicts[1].because_of == "first"


@pytest.mark.parametrize(
    ("phash", "direction", "reason"),
    [
        ("000000000000000f", 0, "near-duplicate"),  # 4 bits and the same direction
        ("000000000000001f", 0, None),  # 5 bits
        ("0000000000000000", 1, None),  # same hash, another direction: flat pictures collide
        ("", 0, None),  # no hash is known
    ],
)
def test_near_duplicates_need_both_a_close_hash_and_a_close_embedding(phash, direction, reason):
    first = Hit(0.9, entry("first", phash="0" * 16))
    other = Hit(0.8, entry("other", phash=phash, direction=direction))
    assert reasons(answer([first, other]))["other"] == reason


def test_a_removed_candidate_does_not_make_others_its_duplicates():
    media = "c" * 64
    hidden = entry("hidden", media=media, state="hidden")
    reranked = answer([Hit(0.9, entry("hidden", media=media)), Hit(0.8, entry("shown", media=media))], hidden=hidden)
    assert [hit.entry.item_id for hit in reranked.results] == ["shown"]


def test_what_is_taken_down_is_in_no_answer_and_keeps_its_cosine_in_the_explanation():
    found = [Hit(0.9, entry("a")), Hit(0.8, entry("b"))]
    reranked = answer(found, restricted={"a": taken_down("a")})
    assert [hit.entry.item_id for hit in reranked.results] == ["b"]
    assert [(one.item_id, one.reason, one.score) for one in reranked.verdicts] == [
        ("a", "enforced", 0.9),
        ("b", None, 0.8),
    ]
    assert reranked.restricted == {"a": taken_down("a")}


def test_of_what_is_hidden_and_taken_down_the_owners_word_is_told():
    reranked = answer([Hit(0.9, entry("a", state="hidden"))], restricted={"a": taken_down("a")})
    assert reasons(reranked) == {"a": "hidden"}


def test_what_is_taken_down_makes_no_other_a_copy_of_it():
    media = "d" * 64
    hits = [Hit(0.9, entry("a", media=media)), Hit(0.8, entry("b", media=media, owner_id="another"))]
    assert reasons(answer(hits, restricted={"a": taken_down("a")})) == {"a": "enforced", "b": None}


def test_what_is_demoted_is_ranked_by_its_lowered_score_and_found_by_its_cosine():
    hits = [Hit(0.9, entry("a")), Hit(0.8, entry("b")), Hit(0.4, entry("c")), Hit(0.29, entry("d"))]
    reranked = answer(hits, restricted={name: demoted(name) for name in "acd"})
    assert [(hit.entry.item_id, pytest.approx(hit.score)) for hit in reranked.results] == [
        ("b", 0.8),
        ("a", 0.45),
        ("c", 0.2),  # under `min_score`, which is about likeness
    ]
    assert reasons(reranked)["d"] == "below-min-score"


def test_demotion_raises_no_score():
    rules = msgspec.structs.replace(RULES, min_score=-1.0)
    reranked = answer([Hit(-0.5, entry("a")), Hit(-0.6, entry("b")), Hit(-0.9, entry("c"))], rules, {"a": demoted("a")})
    assert [(hit.entry.item_id, hit.score) for hit in reranked.results] == [("b", -0.6), ("a", -0.75), ("c", -0.9)]


def test_whose_the_item_is_is_asked_with_it():
    asked: list[tuple[str, str]] = []
    hit = Hit(0.9, entry("a", owner_id="ann"))
    rerank([hit], RULES, lambda item_id: hit.entry, lambda *pair: asked.append(pair))
    assert asked == [("a", "ann")]


def test_a_score_that_is_no_number_is_no_result():
    assert reasons(answer([Hit(math.nan, entry("a")), Hit(0.9, entry("b"))])) == {"b": None, "a": "below-min-score"}


def test_hamming_counts_differing_bits_and_knows_nothing_about_unknown_hashes():
    assert hamming("0" * 16, "f" * 16) == 64
    assert hamming("0000000000000001", "0000000000000003") == 1
    assert hamming("", "0" * 16) == hamming("", "") == 64


entries = st.builds(
    entry,
    st.sampled_from([f"item-{n}" for n in range(12)]),
    direction=st.integers(0, DIM - 1),
    phash=st.sampled_from(["", "0" * 16, "000000000000000f", "f" * 16]),
    media=st.sampled_from([c * 64 for c in "abcdef"]),
    state=st.sampled_from(["active", "hidden"]),
    unsafe=st.booleans(),
    visibility=st.sampled_from(["public", "unlisted", "private"]),
    blocked_regions=st.sampled_from([[], ["DE"], ["US", "DE"]]),
)
hits = st.lists(
    st.builds(Hit, st.floats(-1, 1) | st.just(math.nan), entries), max_size=20, unique_by=lambda hit: hit.entry.item_id
)
rules = st.builds(
    RerankRules,
    k=st.integers(1, 8),
    min_score=st.floats(-1, 1),
    near_duplicate_bits=st.integers(0, 8),
    near_duplicate_score=st.floats(0, 1),
    query_media_id=st.sampled_from([None, "a" * 64]),
    region=st.sampled_from([None, "DE", "US"]),
)


@given(hits, rules, st.data())
def test_whatever_comes_in_the_answer_keeps_the_rules(found, how, data):
    now = {hit.entry.item_id: data.draw(st.sampled_from([hit.entry, None])) for hit in found}
    kinds = [None, taken_down("x"), demoted("x"), demoted("x", 1.0)]
    restricted = {hit.entry.item_id: data.draw(st.sampled_from(kinds)) for hit in found}
    reranked = rerank(found, how, now.get, lambda item_id, owner_id: restricted[item_id])
    results = reranked.results
    assert len(results) <= how.k
    scores = [hit.score for hit in results]
    assert scores == sorted(scores, reverse=True)
    cosines = {hit.entry.item_id: hit.score for hit in found}
    for hit in results:
        shown = hit.entry
        restriction = restricted[shown.item_id]
        assert how.min_score <= cosines[shown.item_id]
        assert hit.score <= cosines[shown.item_id]
        assert restriction is None or not restriction.enforced
        assert (hit.score == cosines[shown.item_id]) or (restriction is not None and restriction.factor < 1)
        assert shown.state == "active" and not shown.unsafe and shown.visibility == "public"
        assert how.region not in shown.blocked_regions
        assert shown.media_id != how.query_media_id
    assert len({hit.entry.media_id for hit in results}) == len(results)
    # Every candidate is accounted for exactly once, and the positions are those of the answer.
    assert sorted(verdict.item_id for verdict in reranked.verdicts) == sorted(hit.entry.item_id for hit in found)
    kept = [verdict for verdict in reranked.verdicts if verdict.position is not None]
    assert [verdict.item_id for verdict in kept] == [hit.entry.item_id for hit in results]
    assert all((verdict.position is None) == (verdict.reason is not None) for verdict in reranked.verdicts)


@given(hits, rules, st.randoms())
def test_the_order_in_which_candidates_arrive_does_not_matter(found, how, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    now = {hit.entry.item_id: hit.entry for hit in found}
    one, other = rerank(found, how, now.get, unrestricted), rerank(shuffled, how, now.get, unrestricted)
    assert [hit.entry.item_id for hit in one.results] == [hit.entry.item_id for hit in other.results]


@given(hits, rules)
def test_re_ranking_an_answer_again_changes_nothing(found, how):
    now = {hit.entry.item_id: hit.entry for hit in found}
    once = rerank(found, how, now.get, unrestricted)
    assert rerank(once.results, how, now.get, unrestricted).results == once.results
