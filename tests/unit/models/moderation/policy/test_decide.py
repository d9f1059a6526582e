"""Deciding: what each part of a policy does, and what holds for every policy and case."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.entries import Version
from core.moderation import ACTIONS, HARM_CLASSES, Decision, Reason
from models.moderation.policy import InForce, KnownHit, decide, in_force_of, parse_policy, rank
from tests.unit.models.moderation.policy.cases import (
    KNOWN,
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


def hit(list_name: str = "terror", distance: int = 3, **fields) -> KnownHit:
    return KnownHit(**{"list_name": list_name, "distance": distance, "media_id": "m1", "known": "f0" * 8} | fields)


def told(outcome) -> list[tuple[str, str]]:
    return [(reason.rule, reason.action) for reason in outcome.reasons]


# --- thresholds ----------------------------------------------------------------------------------------------------


def test_a_harmless_post_is_let_through_without_reasons():
    outcome = decide(policy(), case())
    assert (outcome.action, outcome.reasons, outcome.harm, outcome.needs_review) == ("allow", [], None, False)
    assert (outcome.factor, outcome.failed, outcome.urgency) == (1.0, False, "batch")
    assert outcome.policy_version == policy().version


@pytest.mark.parametrize(
    ("value", "action"),
    [
        (0.0, "allow"),
        (0.4999, "allow"),
        (0.5, "review"),
        (0.7, "demote"),
        (0.8999, "demote"),
        (0.9, "enforce"),
        (1.0, "enforce"),
    ],
)
def test_a_probability_meets_its_threshold_by_being_equal(value, action):
    outcome = decide(policy(), case({"hate": value}))
    assert outcome.action == outcome.machine == action
    if action != "allow":
        (reason,) = outcome.reasons
        assert (reason.rule, reason.action, reason.harm, reason.value) == (f"hate.{action}", action, "hate", value)
        assert reason.threshold == {"review": 0.5, "demote": 0.7, "enforce": 0.9}[action]
        assert (outcome.harm, outcome.probability, outcome.severity) == ("hate", value, 3.0)
    assert outcome.needs_review is (action in ("review", "demote"))
    assert outcome.factor == (0.25 if action == "demote" else 1.0)


def test_an_action_that_is_null_is_never_taken():
    assert decide(policy(), case({"self_harm": 1.0})).action == "demote"


def test_the_hardest_class_decides_and_the_others_stay_as_reasons():
    outcome = decide(policy(), case({"spam": 0.96, "hate": 0.75, "nudity": 0.5}))
    assert told(outcome) == [("spam.enforce", "enforce"), ("hate.demote", "demote"), ("nudity.review", "review")]
    assert (outcome.harm, outcome.urgency, outcome.appealable) == ("spam", "batch", False)


def test_of_equal_actions_the_class_of_severity_times_probability_names_the_harm():
    assert decide(policy(), case({"spam": 0.94, "nudity": 0.8})).harm == "nudity"  # 0.94 x 1 < 0.8 x 2
    assert decide(policy(), case({"hate": 0.7, "violence": 0.89})).harm == "violence"
    assert decide(policy(), case({"hate": 0.89, "nudity": 0.89})).harm == "hate"


def test_of_classes_that_weigh_the_same_the_first_names_the_harm():
    same = parse_policy(PLAIN.replace("severity: 4", "severity: 2"))
    assert decide(same, case({"violence": 0.8, "nudity": 0.8})).harm == "violence"


def test_urgent_when_any_reason_for_the_action_is():
    assert decide(policy(), case({"spam": 0.8, "hate": 0.7})).urgency == "real-time"
    assert decide(policy(), case({"spam": 0.8, "hate": 0.5})).urgency == "batch"


def test_the_lowest_factor_of_the_reasons_for_a_demotion():
    assert decide(policy(), case({"spam": 0.8, "hate": 0.7})).factor == 0.2
    assert decide(policy(), case({"nudity": 0.7, "hate": 0.7, "spam": 0.7})).factor == 0.25


# --- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_failure", ["review", "demote"])
def test_a_post_without_scores_is_never_let_through(on_failure):
    outcome = decide(policy(f"on_failure: {on_failure}\n"), case(failure()))
    assert outcome.action == on_failure
    assert told(outcome) == [("failure", on_failure)]
    assert outcome.reasons[0].detail == "timeout: no answer within 5 s"
    assert outcome.needs_review and outcome.failed and outcome.urgency == "real-time"
    assert (outcome.harm, outcome.probability) == (None, None)
    assert outcome.factor == (0.5 if on_failure == "demote" else 1.0)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -0.1, 1.0001])
@pytest.mark.parametrize("harm", HARM_CLASSES)
def test_a_class_without_a_probability_is_reviewed(harm, value):
    outcome = decide(policy(), case({harm: value}))
    assert (outcome.action, outcome.failed) == ("review", True)
    assert [(reason.rule, reason.harm) for reason in outcome.reasons] == [("failure", harm)]


def test_a_class_that_is_not_even_named_is_reviewed():
    found = scores()
    del found.scores["violence"]
    assert told(decide(policy(), case(found))) == [("failure", "review")]


def test_what_could_not_be_looked_at_is_reviewed_and_named():
    outcome = decide(policy(), case(scores(missing=["media:abc: undecodable-media", "text"])))
    assert told(outcome) == [("failure", "review")]
    assert outcome.reasons[0].detail == "not looked at: media:abc: undecodable-media, text"


def test_a_failure_takes_nothing_from_what_was_found():
    outcome = decide(policy(), case(scores({"hate": 0.95, "spam": None}, missing=["text"])))
    assert outcome.action == "enforce"
    assert told(outcome) == [("hate.enforce", "enforce"), ("failure", "review"), ("failure", "review")]


def test_a_long_failure_message_is_cut():
    assert len(decide(policy(), case(failure(message="x" * 10_000))).reasons[0].detail) == 300


# --- rules ---------------------------------------------------------------------------------------------------------

NEW_LINKS = "post.links >= 2 and author.account_age_days < 7"
LINKS = f"{{name: links, when: {NEW_LINKS}, action: demote, harm: spam, reason: Many links.}}"


def test_a_rule_that_holds_raises_the_action():
    found = decide(policy(rules(LINKS)), case(post=post(links=["a", "b"], author={"account_age_days": 1})))
    assert told(found) == [("rule.links", "demote")]
    assert (found.harm, found.factor, found.reasons[0].detail) == ("spam", 0.2, "Many links.")


def test_a_rule_that_does_not_hold_says_nothing():
    found = decide(policy(rules(LINKS)), case(post=post(links=["a", "b"], author={"account_age_days": 8})))
    assert (found.action, found.reasons, found.unknown) == ("allow", [], [])


def test_a_rule_about_something_unknown_does_not_fire_and_says_so():
    found = decide(policy(rules(LINKS)), case(post=post(links=["a", "b"])))
    assert found.action == "allow"
    assert [(unknown.rule, unknown.names) for unknown in found.unknown] == [("links", ("author.account_age_days",))]


def test_a_rule_cannot_lower():
    rule = "{name: mild, when: post.links >= 0, action: review, reason: r}"
    assert decide(policy(rules(rule)), case({"hate": 0.95})).action == "enforce"


def test_a_rule_without_a_class_demotes_by_the_policys_factor():
    rule = "{name: any, when: post.links >= 0, action: demote, reason: r}"
    found = decide(policy(rules(rule) + "factor: 0.45\n"), case())
    assert (found.factor, found.harm, found.urgency) == (0.45, None, "real-time")


def test_rules_see_weighted_reports_and_lists():
    both = rules(
        "{name: reported, when: reports.hate >= 1 and reports.total >= 1, action: demote, reason: r}",
        "{name: listed, when: known.terror and not known.nudes, action: review, reason: r}",
    )
    found = decide(policy(KNOWN + both), case(reports=[report("a", harm="hate")], known=[hit(), hit("nudes", 5)]))
    assert told(found) == [("known-harm.terror", "enforce"), ("rule.reported", "demote"), ("rule.listed", "review")]


# --- exemptions ----------------------------------------------------------------------------------------------------

NEWS = "{name: news, kind: exempt, harm: violence, when: author.followers > 1000, action: review, reason: Reporters.}"
EVERYTHING = "{name: all, kind: exempt, when: post.links >= 0, reason: Trusted.}"
TRUSTED = post(author={"followers": 5000})


def test_an_exemption_lowers_what_a_threshold_found_for_its_class():
    found = decide(policy(rules(NEWS)), case({"violence": 0.99}, post=TRUSTED))
    assert told(found) == [("violence.enforce", "review")]
    assert found.reasons[0].detail == "enforce lowered by rule.news: Reporters."
    assert (found.reasons[0].value, found.reasons[0].threshold) == (0.99, 0.9)
    assert found.needs_review


def test_an_exemption_leaves_other_classes_and_milder_actions():
    assert decide(policy(rules(NEWS)), case({"hate": 0.99}, post=TRUSTED)).action == "enforce"
    found = decide(policy(rules(NEWS)), case({"violence": 0.5}, post=TRUSTED))
    assert told(found) == [("violence.review", "review")]
    assert found.reasons[0].detail == ""  # it lowered nothing


def test_an_exemption_lowers_rules_of_its_class_and_one_without_a_class_lowers_all():
    rule = "{name: r, when: post.links >= 0, action: enforce, harm: violence, reason: r}"
    general = "{name: g, when: post.links >= 0, action: enforce, reason: r}"
    assert decide(policy(rules(rule, NEWS)), case(post=TRUSTED)).action == "review"
    assert decide(policy(rules(general, NEWS)), case(post=TRUSTED)).action == "enforce"
    found = decide(policy(rules(rule, general, EVERYTHING)), case({"hate": 0.99}))
    assert (found.action, found.harm, found.needs_review) == ("allow", None, False)
    assert {action for _, action in told(found)} == {"allow"}


def test_the_order_of_rules_does_not_matter():
    rule = "{name: r, when: post.links >= 0, action: enforce, harm: violence, reason: r}"
    one = decide(policy(rules(rule, NEWS)), case(post=TRUSTED))
    two = decide(policy(rules(NEWS, rule)), case(post=TRUSTED))
    assert (one.action, told(one)) == (two.action, told(two))


def test_of_two_exemptions_the_one_that_allows_more_counts():
    found = decide(policy(rules(NEWS, EVERYTHING)), case({"violence": 0.99}, post=TRUSTED))
    assert found.action == "allow"


def test_an_exemption_about_something_unknown_exempts_nothing():
    found = decide(policy(rules(NEWS)), case({"violence": 0.99}))
    assert found.action == "enforce"
    assert found.unknown[0].rule == "news"


def test_an_exemption_never_lowers_known_harm_failures_reports_or_strikes():
    exempt = rules(EVERYTHING)
    assert decide(policy(KNOWN + exempt), case(known=[hit()])).action == "enforce"
    assert decide(policy(exempt), case(failure())).action == "review"
    assert decide(policy(exempt), case({"hate": None})).action == "review"
    assert decide(policy(exempt), case(reports=[report("a"), report("b", 1), report("c", 2)])).action == "review"
    strikes = "strikes: [{count: 1, days: 9, at_least: demote}]\n"
    assert decide(policy(exempt + strikes), case(strikes=[NOW])).action == "demote"


# --- known harm ----------------------------------------------------------------------------------------------------


def test_listed_media_does_what_its_list_says():
    found = decide(policy(KNOWN), case(known=[hit(distance=6)]))
    assert told(found) == [("known-harm.terror", "enforce")]
    reason = found.reasons[0]
    assert (reason.harm, reason.value, reason.threshold) == ("violence", 6.0, 6.0)
    assert reason.detail == "media m1 is 6 bits from f0f0f0f0f0f0f0f0"
    assert found.known_lists == ("terror",)
    assert decide(policy(KNOWN), case(known=[hit("nudes", 4)])).action == "demote"


def test_listed_media_of_a_post_without_scores_is_acted_upon():
    found = decide(policy(KNOWN), case(failure(), known=[hit()]))
    assert told(found) == [("known-harm.terror", "enforce"), ("failure", "review")]
    assert (found.harm, found.probability, found.failed) == ("violence", None, True)


def test_media_beyond_the_lists_distance_is_not_on_it():
    found = decide(policy(KNOWN), case(known=[hit(distance=7), hit("nudes", 5)]))
    assert (found.action, found.known_lists) == ("allow", ())


def test_the_nearest_of_a_list_is_told_once():
    found = decide(policy(KNOWN), case(known=[hit(distance=5), hit(distance=2, media_id="m2"), hit(distance=4)]))
    assert [reason.value for reason in found.reasons] == [2.0]
    assert "m2" in found.reasons[0].detail


def test_a_list_that_the_policy_does_not_know_is_looked_at_by_a_person():
    found = decide(policy(KNOWN), case(known=[hit("other", 9)]))
    assert told(found) == [("known-harm.other", "review")]
    assert "no list 'other'" in found.reasons[0].detail


def test_known_harm_names_the_class_before_what_models_say():
    found = decide(policy(KNOWN), case({"self_harm": 0.99, "hate": 0.99}, known=[hit(), hit("nudes", 1)]))
    assert (found.action, found.harm) == ("enforce", "violence")
    assert found.reasons[0].rule == "known-harm.terror"


# --- reports and strikes ---------------------------------------------------------------------------------------------


def test_enough_reports_ask_for_a_person_and_never_for_more():
    many = [report(f"r{i}", i * 30, harm="hate") for i in range(500)]
    found = decide(policy(), case(reports=many))
    assert told(found) == [("reports", "review")]
    assert (found.harm, found.reports, found.reasons[0].threshold) == ("hate", pytest.approx(500.0), 2.0)
    assert found.report_velocity < found.reports
    assert decide(policy(), case(reports=many[:1])).action == "allow"
    assert decide(policy("reports: {demote_at: 10}\n"), case(reports=many)).action == "demote"
    assert decide(policy("reports: {demote_at: 10}\n"), case(reports=many[:9])).action == "review"


def test_a_campaign_is_named_in_the_reason():
    together = [report(f"r{i}", i, account_age_days=1.0) for i in range(3)]
    found = decide(policy(), case(reports=[*together, report("x", 600), report("y", 700)]))
    assert found.reasons[0].detail == "5 reporters, of whom some act together (1 groups)"


def test_strikes_lower_the_thresholds_of_their_author():
    strict = policy("strikes: [{count: 2, days: 30, thresholds_times: 0.8}]\n")
    twice = [NOW - timedelta(days=1), NOW - timedelta(days=2)]
    assert decide(strict, case({"hate": 0.45}, strikes=twice[:1])).action == "allow"
    found = decide(strict, case({"hate": 0.45}, strikes=twice))
    assert told(found) == [("hate.review", "review")]
    assert found.reasons[0].threshold == pytest.approx(0.4)
    assert found.reasons[0].detail == "threshold × 0.8: 2 decisions that enforced within 30 days"


# --- a person's decision -------------------------------------------------------------------------------------------


def stands(action="allow", **fields) -> InForce:
    fields = {"decision_id": "d1", "actor": "reviewer", "decided_at": NOW - timedelta(hours=1)} | fields
    return InForce(action=action, **fields)


@pytest.mark.parametrize("actor", ["reviewer", "appeal"])
@pytest.mark.parametrize("action", ["allow", "demote", "enforce"])
def test_a_persons_decision_stands_whatever_the_machine_says(actor, action):
    for value in (0.01, 0.6, 0.99):
        found = decide(
            policy(), case({"hate": value}, in_force=stands(action, actor=actor, factor=0.7, seen="enforce"))
        )
        assert (found.action, found.stands, found.factor) == (action, True, 0.7)
        assert not found.reopen and not found.needs_review
        assert found.reasons[0].rule == "reviewer" and found.reasons[0].action == action


@pytest.mark.parametrize("actor", ["model", "sweep"])
def test_a_machines_decision_does_not(actor):
    found = decide(policy(), case({"hate": 0.01}, in_force=stands("enforce", actor=actor)))
    assert (found.action, found.stands) == ("allow", False)


def test_more_than_the_person_saw_reopens():
    seen_review = stands(seen="review")
    assert not decide(policy(), case({"hate": 0.6}, in_force=seen_review)).reopen
    found = decide(policy(), case({"hate": 0.75}, in_force=seen_review))
    assert found.reopen and found.needs_review and found.action == "allow"
    assert (found.machine, found.harm, found.probability) == ("demote", "hate", 0.75)
    assert not decide(policy(), case({"hate": 0.75}, in_force=stands("demote", seen="review"))).reopen
    assert decide(policy(), case({"hate": 0.95}, in_force=stands("demote", seen="review"))).reopen


def test_a_new_list_reopens_and_a_list_that_was_seen_does_not():
    found = decide(policy(KNOWN), case(known=[hit()], in_force=stands(seen="enforce")))
    assert found.reopen and found.action == "allow"
    known = stands(seen="enforce", seen_lists=("terror",))
    assert not decide(policy(KNOWN), case(known=[hit()], in_force=known)).reopen
    assert not decide(policy(KNOWN), case(known=[hit()], in_force=stands("enforce"))).reopen


def test_only_reports_since_the_decision_reopen():
    before = [report(f"r{i}", 60 + i) for i in range(10)]
    after = [report(f"s{i}", i * 5) for i in range(10)]
    assert not decide(policy(), case(reports=before, in_force=stands())).reopen
    assert not decide(policy(), case(reports=[*before, after[0]], in_force=stands())).reopen
    assert decide(policy(), case(reports=[*before, *after], in_force=stands())).reopen
    assert not decide(policy(), case(reports=[*before, *after], in_force=stands("demote"))).reopen


def test_a_failure_does_not_reopen_what_a_person_has_seen():
    found = decide(policy(), case(failure(), in_force=stands()))
    assert (found.action, found.reopen, found.needs_review, found.failed) == ("allow", False, False, True)


def test_what_the_machine_saw_is_read_from_the_stored_decision():
    found = decide(policy(KNOWN), case({"hate": 0.75}, known=[hit("nudes", 1)]))
    decision = Decision(
        decision_id="d9",
        post_id="post-1",
        author_id="a",
        action="allow",
        version=Version(time_us=1, seq=0),
        reasons=[*found.reasons, decide(policy(), case(in_force=stands("allow"))).reasons[0]],
        actor="reviewer",
        automated=False,
        policy_version="x",
        event_id="e",
        decided_at=NOW - timedelta(minutes=1),
    )
    in_force = in_force_of(decision)
    assert (in_force.seen, in_force.seen_lists, in_force.by_person) == ("demote", ("nudes",), True)
    again = decide(policy(KNOWN), case({"hate": 0.75}, known=[hit("nudes", 1)], in_force=in_force))
    assert again.stands and not again.reopen
    again = msgspec.structs.replace(decision, reasons=[Reason(rule="reviewer", action="allow", detail="reopened")])
    assert in_force_of(again).seen == "enforce"  # the person looked at a post that the machine had reopened
    bare = in_force_of(decision, decide(policy(KNOWN), case({"hate": 0.95}, known=[hit()])))
    assert (bare.seen, bare.seen_lists) == ("enforce", ("nudes", "terror"))


# --- what holds for all --------------------------------------------------------------------------------------------

PROBABILITY = st.one_of(st.none(), st.floats(0, 1))
SCORES = st.fixed_dictionaries(dict.fromkeys(HARM_CLASSES, PROBABILITY))
HITS = st.lists(
    st.builds(hit, st.sampled_from(["violent-extremism", "look-again", "other"]), st.integers(0, 12)), max_size=3
)


@st.composite
def cases(draw):
    found = draw(
        st.one_of(
            st.builds(
                scores, SCORES, signals=st.dictionaries(st.sampled_from(["nsfw", "obfuscation"]), st.floats(0, 1))
            ),
            st.just(failure()),
        )
    )
    author = draw(
        st.fixed_dictionaries({}, optional={"account_age_days": st.floats(0, 30), "followers": st.integers(0, 9)})
    )
    return case(
        found,
        post=post(links=["a"] * draw(st.integers(0, 4)), media_ids=["m"] * draw(st.integers(0, 1)), author=author),
        known=draw(HITS),
        reports=[report(f"r{i}", i * 30) for i in range(draw(st.integers(0, 4)))],
        strikes=[NOW - timedelta(days=i) for i in range(draw(st.integers(0, 6)))],
        in_force=draw(st.one_of(st.none(), st.builds(stands, st.sampled_from(["allow", "demote", "enforce"])))),
    )


@st.composite
def policies(draw):
    """Policies like the plain one with other thresholds, and an exemption from everything that always holds."""
    lines = ["name: drawn", "classes:"]
    for harm in HARM_CLASSES:
        cuts = sorted(draw(st.lists(st.floats(0.01, 1), min_size=3, max_size=3)))
        left = [cut if draw(st.booleans()) else None for cut in cuts]
        values = ["null" if cut is None else f"{cut!r}" for cut in left]
        lines.append(f"  {harm}: {{review: {values[0]}, demote: {values[1]}, enforce: {values[2]}}}")
    lines += [f"on_failure: {draw(st.sampled_from(['review', 'demote']))}"]
    known = "known_harm:\n  violent-extremism: {harm: violence, action: enforce, distance: 6}\n"
    strike = "strikes: [{count: 3, days: 90, thresholds_times: 0.8}]\n"
    exempt = rules(EVERYTHING) if draw(st.booleans()) else ""
    return parse_policy("\n".join(lines) + "\n" + known + strike + exempt)


@given(policies(), cases())
@settings(max_examples=200, deadline=None)
def test_whatever_is_not_allowed_has_a_reason_for_just_that(policy, case):
    outcome = decide(policy, case)
    if outcome.action != "allow":
        assert any(reason.action == outcome.action for reason in outcome.reasons)
    if outcome.machine != "allow":
        assert any(reason.action == outcome.machine for reason in outcome.reasons)
    assert all(rank(reason.action) <= rank(outcome.machine) for reason in outcome.reasons if reason.rule != "reviewer")
    assert 0 < outcome.factor <= 1
    assert outcome.needs_review or outcome.action in ("allow", "enforce") or outcome.stands


@given(policies(), cases())
@settings(max_examples=200, deadline=None)
def test_a_failure_is_never_let_through(policy, case):
    outcome = decide(policy, case)
    unknown = not hasattr(case.scores, "scores") or any(v is None for v in case.scores.scores.values())
    if unknown:
        assert outcome.failed
        assert rank(outcome.machine) >= rank(policy.on_failure) >= rank("review")


@given(policies(), cases(), st.sampled_from(HARM_CLASSES), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_a_higher_probability_never_means_a_milder_action(policy, case, harm, more):
    if not hasattr(case.scores, "scores"):
        return
    value = case.scores.scores[harm]
    if value is None or more < value:
        return
    higher = scores({**case.scores.scores, harm: more}, signals=case.scores.signals)
    low, high = decide(policy, case), decide(policy, type(case)(**fields_of(case) | {"scores": higher}))
    assert rank(high.machine) >= rank(low.machine)
    assert rank(high.action) >= rank(low.action)
    assert high.reopen or not low.reopen


@given(cases(), st.sampled_from(HARM_CLASSES), st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.01, 1))
@settings(max_examples=200, deadline=None)
def test_raising_a_threshold_never_raises_the_action(case, harm, a, b, c):
    first, middle, last = sorted((a, b, c))

    def with_review_at(value: float):
        text = "\n".join(
            line if harm not in line else f"  {harm}: {{review: {value!r}, demote: {last!r}, enforce: 1.0}}"
            for line in PLAIN.splitlines()
        )
        return parse_policy(text)

    low, high = decide(with_review_at(first), case), decide(with_review_at(middle), case)
    assert rank(high.machine) <= rank(low.machine)
    assert rank(high.action) <= rank(low.action)


@given(policies(), cases())
@settings(max_examples=200, deadline=None)
def test_no_exemption_lowers_known_harm(policy, case):
    outcome = decide(policy, case)
    listed = [h for h in case.known if h.list_name == "violent-extremism" and h.distance <= 6]
    if listed:
        assert outcome.machine == "enforce"
        assert any(reason.rule == "known-harm.violent-extremism" for reason in outcome.reasons)


@given(cases())
@settings(max_examples=100, deadline=None)
def test_the_same_case_has_the_same_outcome(case):
    assert decide(default_policy(), case) == decide(default_policy(), case)


@given(policies(), cases(), st.randoms())
@settings(max_examples=100, deadline=None)
def test_the_order_of_hits_and_reports_does_not_matter(policy, case, random):
    shuffled = fields_of(case)
    for name in ("known", "reports", "strikes"):
        shuffled[name] = random.sample(list(shuffled[name]), len(shuffled[name]))
    assert decide(policy, type(case)(**shuffled)) == decide(policy, case)


def fields_of(case) -> dict:
    return {name: getattr(case, name) for name in case.__struct_fields__}


def test_actions_are_ranked_as_the_contract_lists_them():
    assert [rank(action) for action in ACTIONS] == [0, 1, 2, 3]
