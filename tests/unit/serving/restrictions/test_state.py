import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.entries import Version
from core.moderation import Verdict
from serving.restrictions import state as module
from serving.restrictions.restriction import lowered
from serving.restrictions.state import RestrictionState
from tests.unit.serving.restrictions.verdicts import verdict


def state_of(*verdicts: Verdict) -> RestrictionState:
    state = RestrictionState()
    for one in verdicts:
        state.apply(one)
    return state


def test_a_verdict_restricts_the_items_of_its_posts_author():
    state = state_of(verdict("p", item_ids=["a", "b"], decision_id="d"))
    found = state.of("a", "author")
    assert (found.state, found.factor, found.harm, found.decision_id, found.post_id) == (
        "enforced", 0.0, "violence", "d", "p",
    )  # fmt: skip
    assert state.of("b", "author") == found == state.post("p")
    assert state.of("c", "author") is None
    assert state.post("another") is None


def test_naming_what_somebody_else_uploaded_takes_nothing_down():
    state = state_of(verdict("p", author_id="thief"))
    assert state.of("item", "owner") is None
    assert state.of("item", "thief").enforced


def test_a_clear_verdict_gives_the_items_back():
    state = state_of(verdict("p"), verdict("p", "clear", 2))
    assert state.of("item", "author") is state.post("p") is None
    assert state.items() == [] and len(state) == 0
    assert state.counts() == ({}, {})


def test_a_newer_verdict_about_other_items_gives_back_those_it_does_not_name():
    state = state_of(verdict("p", item_ids=["a", "b"]), verdict("p", "demoted", 2, item_ids=["b", "c"], factor=0.5))
    assert state.of("a", "author") is None
    assert state.of("b", "author").factor == state.of("c", "author").factor == 0.5
    assert state.counts() == ({("demoted", "violence"): 1}, {"demoted": 2})


def test_the_strictest_of_several_posts_counts_and_factors_are_not_multiplied():
    half, third = verdict("half", "demoted", factor=0.5), verdict("third", "demoted", factor=0.3)
    state = state_of(half, third)
    assert (state.of("item", "author").factor, state.of("item", "author").post_id) == (0.3, "third")
    state.apply(verdict("gone"))
    assert state.of("item", "author").post_id == "gone"
    state.apply(verdict("gone", "clear", 2))
    assert state.of("item", "author").post_id == "third"
    state.apply(verdict("third", "demoted", 2, factor=0.9))
    assert (state.of("item", "author").factor, state.of("item", "author").post_id) == (0.5, "half")
    assert state.counts() == ({("demoted", "violence"): 2}, {"demoted": 1})


@pytest.mark.parametrize(("factor", "counts"), [(0.4, 0.4), (1.7, 1.0), (-3.0, 0.001)])
def test_a_factor_that_is_none_counts_as_the_nearest(factor, counts):
    assert state_of(verdict("p", "demoted", factor=factor)).post("p").factor == counts


def test_what_is_older_or_the_same_changes_nothing():
    state = state_of(verdict("p", version=5))
    assert not state.apply(verdict("p", "clear", 4))
    assert not state.apply(verdict("p", "clear", 5))
    assert not state.remove("p", Version(5, 0))
    assert state.post("p").enforced
    assert state.remove("p", Version(6, 0))
    assert not state.apply(verdict("p", version=6))
    assert state.post("p") is None


def test_an_older_verdict_that_comes_after_a_removal_is_refused_while_the_removal_is_remembered():
    state = RestrictionState(cleared_kept=1)
    state.remove("p", Version(9, 0))
    assert not state.apply(verdict("p", version=8))
    state.apply(verdict("q", "clear"))  # there is room for one
    assert state.apply(verdict("p", version=8))


def test_it_says_which_items_changed_and_begins_another_list_when_one_is_full(monkeypatch):
    monkeypatch.setattr(module, "_CHANGES_KEPT", 3)
    state = state_of(verdict("p", item_ids=["a", "b"]))
    first = state.changed
    assert first == [("a", "author"), ("b", "author")]
    state.apply(verdict("p", "clear", 2))
    assert state.changed is first and len(first) == 4
    state.apply(verdict("p", version=3, item_ids=["c"]))
    assert state.changed == [("c", "author")]


def test_an_item_named_twice_is_restricted_once():
    state = state_of(verdict("p", item_ids=["a", "a"]))
    assert state.counts()[1] == {"enforced": 1}
    state.apply(verdict("p", "clear", 2))
    assert state.items() == []


@pytest.mark.parametrize(
    ("score", "factor", "counts"),
    [(0.8, 0.5, 0.4), (0.8, 1.0, 0.8), (-0.2, 0.5, -0.3), (0.0, 0.5, 0.0), (0.8, 0.0, 0.0)],
)
def test_a_lowered_score_is_never_a_better_one(score, factor, counts):
    assert lowered(score, factor) == pytest.approx(counts)


POSTS, AUTHORS, ITEMS = ("p1", "p2", "p3"), ("ann", "ben"), ("i1", "i2", "i3")


@st.composite
def logs(draw: st.DrawFn) -> list[Verdict | tuple[str, Version]]:
    """A log of verdicts and removals, each version of a post once."""
    records: list[Verdict | tuple[str, Version]] = []
    for post in POSTS:
        author = draw(st.sampled_from(AUTHORS))
        for version in range(draw(st.integers(0, 5))):
            kind = draw(st.sampled_from(["clear", "demoted", "enforced", "removed"]))
            if kind == "removed":
                records.append((post, Version(version, 0)))
                continue
            items = draw(st.lists(st.sampled_from(ITEMS), max_size=3))
            factor = draw(st.sampled_from([0.2, 0.5, 1.0]))
            records.append(verdict(post, kind, version, author_id=author, item_ids=items, factor=factor))
    return records


def played(records: list[Verdict | tuple[str, Version]]) -> RestrictionState:
    state = RestrictionState()
    for record in records:
        if isinstance(record, tuple):
            state.remove(*record)
        else:
            state.apply(record)
    return state


def shown(state: RestrictionState) -> tuple:
    items = {(item, author): state.of(item, author) for item in ITEMS for author in AUTHORS}
    posts = {post: state.post(post) for post in POSTS}
    return items, posts, state.counts(), sorted(state.items())


@given(logs(), st.data())
def test_whatever_the_order_and_however_often_the_restrictions_are_the_same(records, data):
    again = records + data.draw(st.lists(st.sampled_from(records), max_size=10) if records else st.just([]))
    assert shown(played(data.draw(st.permutations(again)))) == shown(played(records))


@given(logs())
def test_the_restrictions_are_those_of_the_newest_verdicts_and_nothing_is_left_of_others(records):
    newest: dict[str, Verdict | None] = {}
    for record in records:  # by version, ascending
        newest[record[0] if isinstance(record, tuple) else record.post_id] = (
            None if isinstance(record, tuple) else record
        )
    in_force = [one for one in newest.values() if one is not None and one.state != "clear"]
    state = played(records)
    for item in ITEMS:
        for author in AUTHORS:
            about = [one for one in in_force if one.author_id == author and item in one.item_ids]
            factors = [0.0 if one.state == "enforced" else one.factor for one in about]
            found = state.of(item, author)
            assert (found.factor if found else None) == min(factors, default=None)
            assert (found is not None and found.enforced) == any(one.state == "enforced" for one in about)
    assert len(state) == len(in_force)
    assert len(state.items()) == len({(item, one.author_id) for one in in_force for item in one.item_ids})


@given(logs())
def test_what_changed_is_told(records):
    state, known = RestrictionState(), {}
    for record in records:
        seen = len(state.changed)
        state.remove(*record) if isinstance(record, tuple) else state.apply(record)
        for item, author in state.changed[seen:]:
            known[item, author] = state.of(item, author)
        assert {pair: one for pair, one in known.items() if one} == {pair: state.of(*pair) for pair in state.items()}
