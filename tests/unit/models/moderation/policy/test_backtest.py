"""Backtests: counted by hand for a few posts, the same in numpy as by `decide` for many, and quick."""

import json
import time
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.moderation import ACTIONS, HARM_CLASSES
from models.moderation.policy import KnownHit, decide, parse_policy, rank
from models.moderation.policy.backtest import PostRow, backtest
from models.moderation.policy.backtest_tables import backtest_tables
from models.moderation.policy.judged import judge_many
from models.moderation.policy.proportions import proportion
from tests.unit.models.moderation.policy.cases import (
    NOW,
    PLAIN,
    case,
    default_policy,
    failure,
    policy,
    post,
    report,
    rules,
    scores,
)


def row(found: Any = None, action="allow", name: str = "post-1", **fields: Any) -> PostRow:
    of_case = {key: fields.pop(key) for key in ("reports", "known", "strikes") if key in fields}
    return PostRow(case=case(found, post=post(post_id=name), **of_case), action=action, **fields)


# --- intervals -----------------------------------------------------------------------------------------------------


def test_wilson_intervals_are_those_of_the_literature():
    found = proportion(81, 263)  # Newcombe 1998, table 1, method 3
    assert (found.share, found.low, found.high) == pytest.approx((0.3080, 0.2553, 0.3662), abs=5e-5)
    found = proportion(0, 20)
    assert (found.low, found.high) == (0.0, pytest.approx(0.1611, abs=5e-5))
    found = proportion(29, 29)
    assert (found.low, found.high) == (pytest.approx(0.8830, abs=5e-5), 1.0)


def test_a_share_of_nothing_is_unknown():
    assert proportion(0, 0).share is None and proportion(0, 0).low is None


# --- counting ------------------------------------------------------------------------------------------------------

ROWS = [
    # a machine decided; nobody looked
    row({"hate": 0.95}, "demote", "a", harm="hate", factor=0.5, impressions=100),  # demote -> enforce
    row({"hate": 0.75}, "demote", "b", harm="hate", factor=0.5, impressions=100),  # demote -> demote by 0.25
    row({"hate": 0.1}, "review", "c", harm="hate", impressions=40),  # review -> allow
    row({"hate": 0.1}, "enforce", "d", harm="hate", impressions=0),  # enforce -> allow: how often shown is unknown
    row({}, "allow", "e", impressions=1000),
    # a person looked
    row(
        {"hate": 0.95}, "review", "f", harm="hate", by_person=True, label="enforce", label_harm="hate", impressions=200
    ),
    row({"hate": 0.95}, "review", "g", harm="hate", by_person=True, label="allow", impressions=300),
    row({"hate": 0.6}, "demote", "h", harm="hate", by_person=True, label="demote", label_harm="violence", factor=0.5),
    row({"spam": 0.1}, "demote", "i", harm="spam", factor=0.2, by_person=True, label="enforce", label_harm="spam"),
    # not any more known what the machine said
    row({"spam": 0.99}, None, "j", by_person=True, label="enforce", label_harm="spam", impressions=7),
    # appeals
    row({"nudity": 0.75}, "enforce", "k", harm="nudity", by_person=True, label="allow", appeal="reversed"),
    row({"nudity": 0.1}, "enforce", "l", harm="nudity", by_person=True, label="allow", appeal="reversed"),
    row({"nudity": 0.95}, "enforce", "m", harm="nudity", by_person=True, label="enforce", appeal="upheld"),
]


@pytest.fixture
def found():
    return backtest(policy(), iter(ROWS))


def test_changes_are_counted_over_what_a_machine_decided(found):
    assert (found.posts, found.decided_by_people) == (13, 8)
    counted = {(a, b): n for a, of in found.changes.items() for b, n in of.items() if n}
    assert counted == {
        ("demote", "enforce"): 1,
        ("demote", "demote"): 1,
        ("review", "allow"): 1,
        ("enforce", "allow"): 1,
        ("allow", "allow"): 1,
    }
    assert found.examples == {"review → allow": ["c"], "demote → enforce": ["a"], "enforce → allow": ["d"]}


def test_precision_is_of_the_posts_that_a_person_saw(found):
    # enforced by the policy and seen: f right, g wrong, j right, m right
    assert (found.precision["enforce"].hits, found.precision["enforce"].n) == (3, 4)
    # and demoted: k wrong
    assert (found.precision["demote"].hits, found.precision["demote"].n) == (3, 5)
    # and reviewed: h right
    assert (found.precision["review"].hits, found.precision["review"].n) == (4, 6)
    # now: h right, i right, k and l wrong, m right; f and g only for review; j is not known
    assert (found.precision_now["demote"].hits, found.precision_now["demote"].n) == (3, 5)
    assert (found.precision_now["review"].hits, found.precision_now["review"].n) == (4, 7)


def test_by_class_a_post_is_right_for_the_class_that_the_person_named_or_none(found):
    hate = found.by_class["hate"]
    assert hate.acted == {"review": 5, "demote": 4, "enforce": 3}
    assert hate.acted_now == {"review": 7, "demote": 4, "enforce": 1}
    assert (hate.precision["review"].hits, hate.precision["review"].n) == (1, 3)  # h was violence
    nudity = found.by_class["nudity"]
    assert (nudity.precision["enforce"].hits, nudity.precision["enforce"].n) == (1, 1)  # m: no class named
    assert (nudity.precision_now["enforce"].hits, nudity.precision_now["enforce"].n) == (1, 3)


def test_how_much_confirmed_harm_is_acted_upon(found):
    assert (found.found.hits, found.found.n) == (4, 5)  # not i
    assert (found.found_now.hits, found.found_now.n) == (4, 4)  # j is not known
    assert (found.by_class["spam"].found.hits, found.by_class["spam"].found.n) == (1, 2)
    assert (found.by_class["spam"].found_now.hits, found.by_class["spam"].found_now.n) == (1, 1)
    assert (found.by_class["hate"].found.hits, found.by_class["hate"].found.n) == (1, 1)
    assert (found.by_class["hate"].found_now.hits, found.by_class["hate"].found_now.n) == (1, 1)
    assert (found.by_class["violence"].found.hits, found.by_class["violence"].found.n) == (1, 1)


def test_what_people_would_have_to_look_at(found):
    assert (found.review_load, found.review_load_now) == (3, 7)  # b, h, k; a, b, c, f, g, h, i


def test_appeals(found):
    appeals = found.appeals
    assert (appeals.upheld, appeals.upheld_restricted) == (1, 1)
    assert (appeals.reversed, appeals.reversed_restricted) == (2, 1)


def test_impressions(found):
    of = found.impressions
    # a: all 100; b: from a half to a quarter, 50; c, e: none; f: all 200; g: all 300
    assert of.counted == 100 + 100 + 40 + 1000 + 200 + 300
    assert of.prevented == pytest.approx(100 + 50 + 200 + 300)
    assert (of.harmful, of.harmful_prevented) == (200, pytest.approx(200))
    assert (of.harmless, of.harmless_prevented) == (300, pytest.approx(300))
    assert of.unknown_posts == 3  # d, k and l; j and m would not be shown


def test_a_milder_policy_adds_impressions():
    found = backtest(policy(), [row({"hate": 0.6}, "demote", harm="hate", factor=0.25, impressions=10)])
    assert found.impressions.prevented == pytest.approx(-30)


def test_the_most_shown_examples_are_kept_in_order_and_few():
    rows = [row({"hate": 0.95}, "allow", f"p{i:02}", impressions=i % 10) for i in range(30)]
    assert backtest(policy(), rows).examples == {"allow → enforce": ["p09", "p19", "p29", "p08", "p18"]}


def test_rules_that_cannot_be_asked_are_counted():
    rule = rules("{name: old, when: author.followers > 3, action: review, reason: r}")
    asked = row({}, "allow")
    told = PostRow(case=case(post=post(author={"followers": 9})), action="allow")
    found = backtest(policy(rule), [asked, asked, told])
    assert found.unknown_rules == {"old": 2}
    assert found.changes["allow"] == {"allow": 2, "review": 1, "demote": 0, "enforce": 0}


def test_nothing_comes_of_nothing():
    found = backtest(policy(), [])
    assert found.posts == 0 and found.precision["enforce"].share is None
    assert all(table.as_text() for table in backtest_tables(found))


def test_the_number_of_posts_read_at_once_does_not_matter(monkeypatch):
    whole = backtest(policy(), ROWS)
    monkeypatch.setattr("models.moderation.policy.backtest._AT_ONCE", 3)
    assert backtest(policy(), iter(ROWS)) == whole


def test_a_persons_decision_is_not_asked_about():
    from models.moderation.policy import InForce

    held = case({"hate": 0.95}, in_force=InForce(decision_id="d", action="allow", actor="reviewer", decided_at=NOW))
    ruled = policy(rules("{name: r, when: post.links > 9, action: review, reason: r}"))
    assert backtest(ruled, [PostRow(case=held, action="allow")]).changes["allow"]["enforce"] == 1


def test_the_result_is_json_and_tables(found):
    plain = json.loads(msgspec.json.encode(found))
    assert plain["changes"]["demote"]["enforce"] == 1 and plain["precision"]["enforce"]["n"] == 4
    text = "\n\n".join(table.as_text() for table in backtest_tables(found))
    assert "What policy plain" in text and "(8 were decided by people and stay)" in text
    assert "0.750 (0.301 to 0.954) of 4" in text
    lines = text.splitlines()
    assert lines[1].split() == ["in", "force", "→", "allow", "→", "review", "→", "demote", "→", "enforce"]
    assert lines[4].split() == ["demote", "0", "0", "1", "1"]


# --- numpy and decide --------------------------------------------------------------------------------------------

CASES = st.one_of(
    st.builds(
        lambda values, missing, more: case(
            scores(dict(zip(HARM_CLASSES, values, strict=True)), missing=missing), **more
        ),
        st.lists(st.one_of(st.none(), st.floats(0, 1), st.just(float("nan"))), min_size=5, max_size=5),
        st.sampled_from([[], [], ["text"]]),
        st.sampled_from(
            [
                {},
                {},
                {"strikes": [NOW] * 3},
                {"reports": [report(f"r{i}", 30 * i) for i in range(3)]},
                {"known": [KnownHit(list_name="terror", distance=2)]},
            ]
        ),
    ),
    st.just(case(failure())),
)
GAPS = parse_policy(
    PLAIN.replace("review: 0.5, demote: 0.7, enforce: 0.9, factor: 0.3", "review: null, demote: 0.4, enforce: null")
    + "strikes: [{count: 2, days: 9, thresholds_times: 0.5}]\n"
    + "known_harm: {terror: {harm: violence, action: enforce, distance: 3}}\n"
)


@given(st.lists(CASES, max_size=8), st.sampled_from([policy(), GAPS, default_policy()]))
@settings(max_examples=150, deadline=None)
def test_many_at_once_are_judged_as_one_by_one(cases, chosen):
    judged = judge_many(chosen, cases)
    for place, one in enumerate(cases):
        outcome = decide(chosen, one)
        assert ACTIONS[judged.ranks[place]] == outcome.action
        assert (HARM_CLASSES[judged.harms[place]] if judged.harms[place] >= 0 else None) == outcome.harm
        assert judged.factors[place] == outcome.factor


def test_a_hundred_thousand_posts_take_seconds():
    """The bar is 60 s; this leaves room for a busy machine and still notices a slip by several times."""
    generator = np.random.default_rng(3)
    values = generator.beta(0.4, 4.0, (2_000, 5))
    rows = [
        row(dict(zip(HARM_CLASSES, map(float, line), strict=True)), "allow", f"p{i}") for i, line in enumerate(values)
    ]
    for chosen in (policy(), default_policy()):
        began = time.perf_counter()
        found = backtest(chosen, (one for _ in range(5) for one in rows))
        assert time.perf_counter() - began < 6.0  # for 10,000
        assert found.posts == 10_000
        ranks = [rank(decide(chosen, one.case).action) for one in rows]
        assert found.changes["allow"] == {a: 5 * ranks.count(rank(a)) for a in ACTIONS}
