"""What authors are told: complete, the same every time, in every language."""

import string
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.entries import Version
from core.moderation import HARM_CLASSES, Decision, MediaEvidence, Reason, TextEvidence
from models.moderation.policy.messages import LANGUAGES, messages, supported
from models.moderation.policy.notice import QUOTE_LENGTH, Notice, notice
from tests.unit.models.moderation.policy.cases import policy

GOLDEN = Path(__file__).parent / "golden"
AT = datetime(2026, 3, 1, 9, 5, tzinfo=UTC)

HATE = Reason(rule="hate.enforce", action="enforce", harm="hate", value=0.983, threshold=0.97)
REVIEWED = Reason(rule="reviewer", action="enforce", harm="hate", detail="secret words of a reviewer")


def decision(**fields: Any) -> Decision:
    defaults: dict[str, Any] = {
        "decision_id": "decision-1",
        "post_id": "post-1",
        "author_id": "author-1",
        "action": "enforce",
        "harm": "hate",
        "version": Version(time_us=1, seq=0),
        "reasons": [HATE],
        "actor": "model",
        "policy_version": "ecb7bf0a",
        "model_version": "moderation/3",
        "event_id": "event-1",
        "decided_at": AT,
    }
    return Decision(**defaults | fields)


def tell(found: Decision, **fields: Any) -> Notice:
    return notice(found, **{"policy": policy(), "appeal_days": 30.0, "now": AT + timedelta(days=1)} | fields)


ENFORCED = decision(
    reasons=[HATE, Reason(rule="reports", action="review", value=3.0)],
    evidence=[
        MediaEvidence(harm="hate", media_id="m2", weight=0.2, region=(0, 0, 0.5, 0.5)),
        TextEvidence(harm="hate", start=0, end=10, quote="vile words", weight=0.4),
        TextEvidence(harm="spam", start=0, end=3, quote="buy", weight=0.9),
    ],
)
GOLDENS = {
    "enforced": (ENFORCED, {"media_ids": ["m1", "m2"]}),
    "known-harm": (
        decision(
            harm="nudity",
            reasons=[Reason(rule="known-harm.intimate", action="enforce", harm="nudity", value=2.0, detail="f0f0")],
        ),
        {},
    ),
    "demoted-by-a-person": (
        decision(action="demote", harm=None, actor="reviewer", actor_id="rosa", automated=False, reasons=[REVIEWED]),
        {},
    ),
    "reported": (
        decision(action="review", harm="violence", reasons=[Reason(rule="reports", action="review", value=2.0)]),
        {},
    ),
    "lifted": (decision(action="allow", harm=None, actor="appeal", automated=False, reasons=[REVIEWED]), {}),
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", GOLDENS)
def test_the_text_is_word_for_word_what_was_agreed(name, language):
    found, fields = GOLDENS[name]
    expected = (GOLDEN / f"{name}.{language}.txt").read_text("utf-8")
    assert tell(found, language=language, **fields).text + "\n" == expected


def test_the_parts_say_the_same_as_the_text():
    found = tell(ENFORCED, media_ids=["m1", "m2"])
    for part in (found.title, found.what, found.ground, *found.facts, found.automation, found.appeal_how):
        assert part and part in found.text
    assert (found.action, found.harm, found.restricted) == ("enforce", "hate", True)
    assert (found.since, found.policy_version, found.model_version) == (AT, "ecb7bf0a", "moderation/3")
    assert [part.weight for part in found.evidence] == [0.4, 0.2]  # the strongest first, of its class only


def test_it_names_no_reporter_reviewer_list_or_hash():
    for found, fields in GOLDENS.values():
        text = tell(found, **fields).text
        assert not any(secret in text for secret in ("secret", "rosa", "intimate", "f0f0"))


def test_a_rule_and_strikes_are_told():
    reasons = [
        Reason(rule="rule.many-links", action="enforce", harm="spam"),
        Reason(rule="strikes.5", action="enforce", value=5.0),
        Reason(rule="failure", action="enforce"),
    ]
    assert tell(decision(harm="spam", reasons=reasons)).facts == [
        "One of our rules about such posts applies (many-links).",
        "Several of your recent posts were against our rules.",
        "An automated check could not look at all of it.",
    ]


def test_only_what_carries_the_decision_is_told_and_once():
    reasons = [HATE, HATE, Reason(rule="spam.review", action="review", harm="spam", value=0.7)]
    assert tell(decision(reasons=reasons)).facts == ["An automated check rates the probability of this at 98 %."]


@pytest.mark.parametrize(("value", "percent"), [(1.0, "99 %"), (0.001, "1 %"), (0.5, "50 %"), (0.976, "98 %")])
def test_nothing_is_told_as_certain(value, percent):
    reason = Reason(rule="hate.enforce", action="enforce", harm="hate", value=value)
    assert percent in tell(decision(reasons=[reason])).facts[0]


def test_who_found_and_who_decided():
    machine = tell(decision())
    assert (machine.found_automatically, machine.decided_automatically) == (True, True)
    person = tell(decision(actor="reviewer", automated=False, reasons=[REVIEWED, HATE]))
    assert (person.found_automatically, person.decided_automatically) == (True, False)
    assert person.facts == ["A person has looked at it.", "An automated check rates the probability of this at 98 %."]
    reported = [REVIEWED, Reason(rule="reports", action="review", value=3.0)]
    by_report = tell(decision(actor="reviewer", automated=False, reasons=reported))
    assert (by_report.found_automatically, by_report.decided_automatically) == (False, False)
    assert by_report.automation == "The post was looked at because people reported it. A person took this decision."


def test_a_demotion_by_the_machine_says_that_a_person_looks():
    assert "while a person looks" in tell(decision(action="demote", reasons=[])).what
    decided = tell(decision(action="demote", reasons=[], automated=False, actor="reviewer"))
    assert decided.what == "This post is shown less often in feeds and searches."


def test_until_when_one_can_appeal():
    until = AT + timedelta(days=30)
    assert (tell(decision()).appeal, tell(decision()).appeal_until) == ("open", until)
    assert "until 31 March 2026, 09:05 UTC" in tell(decision()).appeal_how
    assert tell(decision(), now=until).appeal == "open"
    over = tell(decision(), now=until + timedelta(seconds=1))
    assert (over.appeal, over.appeal_until) == ("over", until)
    assert over.appeal_how == "You could appeal until 31 March 2026, 09:05 UTC."


def test_a_class_that_cannot_be_appealed_says_where_else_to_turn():
    closed = tell(decision(harm="spam"))  # not appealable in the plain policy
    assert (closed.appeal, closed.appeal_until) == ("closed", None)
    assert "court" in closed.appeal_how
    assert tell(decision(harm="spam"), policy=None).appeal == "open"


@pytest.mark.parametrize("action", ["allow", "review"])
def test_what_restricts_nothing_cannot_be_appealed(action):
    found = tell(decision(action=action))
    assert (found.restricted, found.appeal, found.appeal_until, found.appeal_how) == (False, "none", None, "")


def test_nothing_is_held_against_a_post_that_is_let_through():
    found = tell(decision(action="allow"))
    assert (found.ground, found.facts, found.evidence, found.harm) == ("", [], [], None)


def test_self_harm_comes_with_words_of_support():
    assert "you do not have to be alone" in tell(decision(harm="self_harm")).text
    assert "alone" not in tell(decision()).text
    assert "alone" not in tell(decision(harm="self_harm", action="allow")).text


def test_quotes_are_short_plain_and_few():
    hostile = "a\u202eb\u200bc\n\nd\x00e " + "x" * 500
    quotes = [TextEvidence(harm="hate", start=0, end=1, quote=f"q{i}", weight=0.1 * i) for i in range(1, 9)]
    found = tell(decision(evidence=[TextEvidence(harm="hate", start=0, end=1, quote=hostile, weight=2.0), *quotes]))
    (fact,) = [fact for fact in found.facts if "these words" in fact]
    assert "“abc d e x" in fact and "…”" in fact and "“q8”, “q7”, “q6”, “q5”." in fact and "q4" not in fact
    assert len(fact.partition("“q8”")[0]) < QUOTE_LENGTH + 60
    assert not any(c in found.text.replace("\n\n", "") for c in "\u202e\u200b\x00\n")


def test_a_quote_with_braces_is_only_a_quote():
    found = tell(decision(evidence=[TextEvidence(harm="hate", start=0, end=1, quote="{percent} {0}", weight=1.0)]))
    assert "“{percent} {0}”" in found.text


def test_media_are_numbered_as_the_author_sees_them():
    parts = [MediaEvidence(harm="hate", media_id=m, weight=1.0) for m in ("m3", "m3", "new")]
    facts = tell(decision(evidence=parts), media_ids=["m1", "m2", "m3"]).facts[1:]
    assert [fact[-9:] for fact in facts] == ["number 3.", "number 4."]


def test_the_same_decision_is_always_told_the_same():
    assert tell(ENFORCED) == tell(ENFORCED)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [("de", "de"), ("de-AT", "de"), ("FR_ca", "fr"), ("es", "es"), ("und", "en"), ("ja", "en"), ("", "en")],
)
def test_the_language_is_that_of_the_author_or_english(wanted, told):
    assert supported(wanted) == told
    assert tell(decision(), language=wanted).language == told


def _leaves(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {key: text for name, part in value.items() for key, text in _leaves(part, f"{path}/{name}").items()}
    return {path: value}


def _placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_everything_with_the_same_placeholders(language):
    english, other = _leaves(messages("en")), _leaves(messages(language))
    assert other.keys() == english.keys()
    assert len(messages(language)["months"]) == 12
    for key in english.keys() - {"/months"}:
        assert isinstance(other[key], str) and other[key].strip(), key
        assert _placeholders(other[key]) == _placeholders(english[key]), key


def test_every_class_has_its_ground():
    for language in LANGUAGES:
        grounds = messages(language)["ground"]
        assert grounds.keys() == {*HARM_CLASSES, "none", "decided"}
        assert len(set(grounds.values())) == len(grounds)
