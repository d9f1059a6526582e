"""The statement of reasons: what an author is told about a decision, from the decision itself.

It says what was decided, on which ground, on which facts, whether machines found and decided it, since when and where
it holds, and how to object (Article 17 of the EU Digital Services Act asks for these). It names no reporter, no
reviewer, no list and no hash. The same decision always gives the same text.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from msgspec import Struct

from core.moderation import Action, Decision, Evidence, HarmClass, MediaEvidence, Reason, TextEvidence
from models.moderation.policy.messages import messages, supported
from models.moderation.policy.schema import Policy

MAX_QUOTES, QUOTE_LENGTH = 5, 120

_SENTENCES = {
    "reviewer": "person",
    "known-harm": "known",
    "rule": "rule",
    "strikes": "strikes",
    "reports": "reports",
    "failure": "failure",
}

#: `over`: its time has passed. `closed`: the policy allows none. `none`: nothing was restricted.
AppealState = Literal["open", "over", "closed", "none"]


class Notice(Struct, kw_only=True, frozen=True, gc=False):
    """What the author is told: as parts for an application, and whole as `text`."""

    decision_id: str
    post_id: str
    language: str
    action: Action
    restricted: bool
    harm: HarmClass | None
    title: str
    what: str
    ground: str  # empty when nothing is held against the post
    facts: list[str]
    evidence: list[Evidence]
    found_automatically: bool
    decided_automatically: bool
    automation: str
    since: datetime
    appeal: AppealState
    appeal_until: datetime | None
    appeal_how: str
    policy_version: str
    model_version: str
    text: str


def notice(
    decision: Decision,
    *,
    policy: Policy | None,
    appeal_days: float,
    now: datetime,
    language: str = "en",
    media_ids: Sequence[str] = (),
) -> Notice:
    """Return the notice of a decision in the language, or in English where there is no such catalogue.

    `policy` is the one that the decision names (None: unknown, then every class can be appealed); `media_ids` are the
    post's media in the order the author sees them; `now` decides whether the time to appeal is over.
    """
    told = supported(language)
    words = messages(told)
    restricted = decision.action in ("demote", "enforce")
    until = decision.decided_at + timedelta(days=appeal_days) if restricted else None
    appeal = _appeal_state(decision, policy, until, now)
    evidence = _evidence(decision) if decision.action != "allow" else []
    found = any(_kind(reason) not in ("person", "reports") for reason in decision.reasons)
    part: dict[str, Any] = {
        "title": words["title"][decision.action],
        "what": _what(decision, words),
        "ground": words["ground"][_ground(decision)] if decision.action != "allow" else "",
        "facts": [*_facts(decision, words), *_shown(evidence, words, media_ids)] if decision.action != "allow" else [],
        "automation": _automation(decision, words, found),
        "appeal_how": _appeal(appeal, until, words),
    }
    return Notice(
        decision_id=decision.decision_id,
        post_id=decision.post_id,
        language=told,
        action=decision.action,
        restricted=restricted,
        harm=decision.harm if decision.action != "allow" else None,
        evidence=evidence,
        found_automatically=found,
        decided_automatically=decision.automated,
        since=decision.decided_at,
        appeal=appeal,
        appeal_until=until if appeal in ("open", "over") else None,
        policy_version=decision.policy_version,
        model_version=decision.model_version,
        text=_text(decision, part, words),
        **part,
    )


def _appeal_state(decision: Decision, policy: Policy | None, until: datetime | None, now: datetime) -> AppealState:
    if until is None:
        return "none"
    if policy is not None and decision.harm is not None and not policy.classes.of(decision.harm).appealable:
        return "closed"
    return "open" if now <= until else "over"


def _what(decision: Decision, words: Mapping[str, Any]) -> str:
    decided = decision.action == "demote" and not decision.automated
    return words["what"]["demote_decided" if decided else decision.action]


def _ground(decision: Decision) -> str:
    """Return what is held against the post; while a person still looks, only that something might be."""
    if decision.action == "review":
        return "none"
    return decision.harm or ("none" if decision.automated else "decided")


def _kind(reason: Reason) -> str:
    """Return which sentence tells a reason."""
    return _SENTENCES.get(reason.rule.partition(".")[0], "model")


def _facts(decision: Decision, words: Mapping[str, Any]) -> Iterator[str]:
    """Tell the reasons that carry the decision, each kind of sentence once; what came to less is left out."""
    said: set[str] = set()
    person = decision.actor in ("reviewer", "appeal")
    if person:
        said.add(words["why"]["person"])
        yield words["why"]["person"]
    for reason in decision.reasons:
        if reason.action == "allow" or (reason.action != decision.action and not person):
            continue
        kind = _kind(reason)
        if kind == "model" and (reason.harm != decision.harm or reason.value is None):
            continue
        sentence = words["why"][kind].format(percent=_percent(reason.value), rule=reason.rule.partition(".")[2])
        if sentence not in said:
            said.add(sentence)
            yield sentence


def _percent(value: float | None) -> int:
    """Return a probability in per cent, never as certain."""
    return min(99, max(1, round(100 * (value or 0.0))))


def _evidence(decision: Decision) -> list[Evidence]:
    """Return what speaks for the decision's class, the strongest first."""
    chosen = [part for part in decision.evidence if part.harm == decision.harm and part.weight > 0]
    return sorted(chosen, key=lambda part: -part.weight)[:MAX_QUOTES]


def _shown(evidence: Sequence[Evidence], words: Mapping[str, Any], media_ids: Sequence[str]) -> Iterator[str]:
    quotes = [_plain(part.quote) for part in evidence if isinstance(part, TextEvidence)]
    quoted = [words["evidence"]["quote"].format(text=quote) for quote in dict.fromkeys(quotes) if quote]
    if quoted:
        yield words["evidence"]["words"].format(quotes=", ".join(quoted))
    media = [part for part in evidence if isinstance(part, MediaEvidence)]
    order = list(dict.fromkeys([*media_ids, *(part.media_id for part in media)]))
    said: set[str] = set()
    for part in media:
        kind = "media" if part.region is None else "region"
        sentence = words["evidence"][kind].format(number=order.index(part.media_id) + 1)
        if sentence not in said:
            said.add(sentence)
            yield sentence


def _plain(quote: str) -> str:
    """Return a quote on one line, without what could disguise the text around it, and not too long."""
    shown = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in quote)
    text = " ".join("".join(c for c in shown if unicodedata.category(c) not in ("Cf", "Co", "Cs")).split())
    return text if len(text) <= QUOTE_LENGTH else f"{text[: QUOTE_LENGTH - 1]}…"


def _automation(decision: Decision, words: Mapping[str, Any], found: bool) -> str:
    said = []
    if found:
        said.append(words["automated"]["found"])
    elif any(_kind(reason) == "reports" for reason in decision.reasons):
        said.append(words["automated"]["reported"])
    said.append(words["automated"]["decided" if decision.automated else "person"])
    return " ".join(said)


def _appeal(state: AppealState, until: datetime | None, words: Mapping[str, Any]) -> str:
    if state == "none" or until is None:
        return ""
    return words["appeal"][state].format(until=_moment(until, words))


def _moment(when: datetime, words: Mapping[str, Any]) -> str:
    utc = when.astimezone(UTC)
    return words["moment"].format(
        day=words["first"] if utc.day == 1 else utc.day,
        month=words["months"][utc.month - 1],
        year=utc.year,
        time=f"{utc:%H:%M}",
    )


def _text(decision: Decision, part: Mapping[str, Any], words: Mapping[str, Any]) -> str:
    support = words["support"] if decision.harm == "self_harm" and decision.action != "allow" else ""
    since = words["since"].format(when=_moment(decision.decided_at, words))
    versions = words["versions"].format(
        decision=decision.decision_id, policy=decision.policy_version, model=decision.model_version or "–"
    )
    paragraphs = [
        part["title"],
        part["what"],
        " ".join([part["ground"], *part["facts"]]).strip(),
        support,
        f"{part['automation']} {since}",
        part["appeal_how"],
        versions,
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
