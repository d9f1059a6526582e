"""From a case to an action: a pure function of the policy and what is known.

The action is the hardest that anything asks for:

1. Class thresholds on calibrated probabilities; strikes can lower the thresholds.
2. Rules that hold. A rule about something unknown does not fire, and is named in `unknown`.
3. Exemptions (`kind: exempt`) lower what 1 and 2 found for their class, and nothing below.
4. Known harm: media within the distance of a list.
5. Failures: no scores, a class without a probability, a part that could not be looked at: at least `on_failure`.
6. Reports, weighted; they ask for a look, or a demotion meanwhile, never for more.
7. Strikes that ask for at least something.

A decision of a person stands until the content changes. The machine only asks for another look, and only for something
the person could not know: it found more than before, a list hit that is new, or enough reports since.
"""

from collections.abc import Iterator, Sequence

from core.moderation import HARM_CLASSES, Action, HarmClass, PostScores, Reason, ScoreFailure, Urgency
from models.moderation.policy.case import Case, InForce, KnownHit, Outcome, PostReport, UnknownRule
from models.moderation.policy.reports import ReportWeights, weigh
from models.moderation.policy.schema import Policy, Rule, rank
from models.moderation.policy.signals import Signals
from models.moderation.policy.strikes import StrikeEffect, strikes_of

FAILURE = "failure"
REPORTS = "reports"
KNOWN = "known-harm."
_MAX_DETAIL = 300


def decide(policy: Policy, case: Case) -> Outcome:
    """Return what the policy says about a case. The same case always has the same outcome."""
    weights = _weights(policy, case, case.reports)
    strikes = strikes_of(policy, case.strikes, case.now)
    known = list(_known(policy, case.known))
    signals = _signals(case, weights, known)
    lowered = list(_by_thresholds(policy, case, strikes))
    failures = list(_failures(policy, case))
    unknown: list[UnknownRule] = []
    exempts: list[Rule] = []
    for rule in policy.rules:
        holds = rule.expression.holds(signals)
        if holds is None:
            unknown.append(UnknownRule(rule=rule.name, names=tuple(rule.expression.unknown(signals))))
        elif holds and rule.kind == "exempt":
            exempts.append(rule)
        elif holds:
            lowered.append(Reason(rule=f"rule.{rule.name}", action=rule.action, harm=rule.harm, detail=rule.reason))
    if exempts:
        lowered = _exempted(lowered, exempts)
    reasons = [*known, *lowered, *failures, *_reported(policy, weights), *strikes.reasons]
    return _outcome(policy, case, reasons, weights, bool(failures), unknown)


def signals_of(policy: Policy, case: Case) -> Signals:
    """Return what rules are asked about, to show what each of them comes to."""
    return _signals(case, _weights(policy, case, case.reports), list(_known(policy, case.known)))


def _signals(case: Case, weights: ReportWeights, known: Sequence[Reason]) -> Signals:
    return Signals(case, _by_name(weights), frozenset(reason.rule[len(KNOWN) :] for reason in known))


def _by_thresholds(policy: Policy, case: Case, strikes: StrikeEffect) -> Iterator[Reason]:
    if not isinstance(case.scores, PostScores):
        return
    for harm in HARM_CLASSES:
        value = _probability(case.scores, harm)
        if value is None:
            continue
        for action, threshold in reversed(policy.classes.of(harm).thresholds):
            if threshold is None:
                continue
            effective = threshold * strikes.thresholds_times
            if value >= effective:
                yield Reason(
                    rule=f"{harm}.{action}",
                    action=action,
                    harm=harm,
                    value=value,
                    threshold=effective,
                    detail=f"threshold × {strikes.thresholds_times:g}: {strikes.detail}" if strikes.detail else "",
                )
                break


def _probability(scores: PostScores, harm: HarmClass) -> float | None:
    """Return a class's probability; what is no probability is unknown."""
    value = scores.scores.get(harm)
    return value if value is not None and 0.0 <= value <= 1.0 else None


def _probability_of(case: Case, harm: HarmClass | None) -> float | None:
    return _probability(case.scores, harm) if harm is not None and isinstance(case.scores, PostScores) else None


def _failures(policy: Policy, case: Case) -> Iterator[Reason]:
    if isinstance(case.scores, ScoreFailure):
        detail = f"{case.scores.code}: {case.scores.message}"[:_MAX_DETAIL]
        yield Reason(rule=FAILURE, action=policy.on_failure, detail=detail)
        return
    for harm in HARM_CLASSES:
        if _probability(case.scores, harm) is None:
            yield Reason(rule=FAILURE, action=policy.on_failure, harm=harm, detail="no probability")
    if case.scores.missing:
        detail = f"not looked at: {', '.join(case.scores.missing)}"[:_MAX_DETAIL]
        yield Reason(rule=FAILURE, action=policy.on_failure, detail=detail)


def _known(policy: Policy, hits: Sequence[KnownHit]) -> Iterator[Reason]:
    nearest: dict[str, KnownHit] = {}
    for hit in sorted(hits, key=lambda hit: (hit.list_name, hit.distance, hit.media_id, hit.phash, hit.known)):
        nearest.setdefault(hit.list_name, hit)
    for name, hit in nearest.items():
        known = policy.known_harm.get(name)
        if known is None:  # somebody fills a list that the policy does not know yet: a person looks
            detail = f"media {hit.media_id}: the policy has no list {name!r}"
            yield Reason(rule=f"{KNOWN}{name}", action="review", value=float(hit.distance), detail=detail)
        elif hit.distance <= known.distance:
            yield Reason(
                rule=f"{KNOWN}{name}",
                action=known.action,
                harm=known.harm,
                value=float(hit.distance),
                threshold=float(known.distance),
                detail=f"media {hit.media_id} is {hit.distance} bits from {hit.known}",
            )


def _exempted(reasons: Sequence[Reason], exempts: Sequence[Rule]) -> list[Reason]:
    """Lower what thresholds and rules found to what the exemptions allow, and say so."""
    result = []
    for reason in reasons:
        lowest = reason.action
        by: Rule | None = None
        for rule in exempts:
            if (rule.harm is None or rule.harm == reason.harm) and rank(rule.action) < rank(lowest):
                lowest, by = rule.action, rule
        if by is None:
            result.append(reason)
        else:
            detail = f"{reason.action} lowered by rule.{by.name}: {by.reason}"
            result.append(
                Reason(
                    rule=reason.rule,
                    action=lowest,
                    harm=reason.harm,
                    value=reason.value,
                    threshold=reason.threshold,
                    detail=f"{reason.detail}; {detail}" if reason.detail else detail,
                )
            )
    return result


def _weights(policy: Policy, case: Case, reports: Sequence[PostReport]) -> ReportWeights:
    return weigh(reports, policy.reports, now=case.now, half_life_hours=policy.review.report_half_life_hours)


def _by_name(weights: ReportWeights) -> dict[str, float]:
    named: dict[str, float] = {harm: weight for harm, weight in weights.by_harm.items() if harm is not None}
    named["total"] = weights.total
    return named


def _reported(policy: Policy, weights: ReportWeights) -> Iterator[Reason]:
    action, threshold = _report_action(policy, weights)
    if action != "allow":
        detail = f"{weights.reporters} reporters"
        if weights.campaigns:
            detail += f", of whom some act together ({weights.campaigns} groups)"
        yield Reason(
            rule=REPORTS, action=action, harm=weights.harm, value=weights.total, threshold=threshold, detail=detail
        )


def _report_action(policy: Policy, weights: ReportWeights) -> tuple[Action, float]:
    demote_at = policy.reports.demote_at
    if demote_at is not None and weights.total >= demote_at:
        return "demote", demote_at
    return ("review", policy.reports.review_at) if weights.total >= policy.reports.review_at else ("allow", 0.0)


def _outcome(
    policy: Policy,
    case: Case,
    reasons: list[Reason],
    weights: ReportWeights,
    failed: bool,
    unknown: list[UnknownRule],
) -> Outcome:
    reasons.sort(key=lambda reason: -rank(reason.action))  # stable: known harm stays before the rest
    machine: Action = reasons[0].action if reasons else "allow"
    top = [reason for reason in reasons if reason.action == machine != "allow"]
    harm = _heaviest(policy, case, top)
    of_harm = policy.classes.of(harm) if harm is not None else None
    action, factor, stands, reopen = machine, _factor(policy, machine, top), False, False
    if case.in_force is not None and case.in_force.by_person:
        stands, action, factor = True, case.in_force.action, case.in_force.factor
        reopen = _is_news(policy, case, case.in_force, machine, reasons)
        reasons.insert(0, _person(case.in_force))
        if not reopen:
            harm = case.in_force.harm
    return Outcome(
        action=action,
        reasons=reasons,
        machine=machine,
        policy_version=policy.version,
        harm=harm,
        factor=factor,
        urgency=_urgency(policy, top),
        appealable=of_harm.appealable if of_harm is not None else True,
        needs_review=reopen if stands else action in ("review", "demote"),
        stands=stands,
        reopen=reopen,
        failed=failed,
        probability=_probability_of(case, harm),
        severity=of_harm.severity if of_harm is not None else 1.0,
        reports=weights.total,
        report_velocity=weights.velocity,
        unknown=unknown,
    )


def _heaviest(policy: Policy, case: Case, top: Sequence[Reason]) -> HarmClass | None:
    """Return the class of the action's reasons that weighs most: known harm first, else severity x probability."""
    best: tuple[float, HarmClass] | None = None
    for reason in top:
        if reason.harm is None:
            continue
        if reason.rule.startswith(KNOWN):
            return reason.harm
        value = _probability_of(case, reason.harm)
        weight = policy.classes.of(reason.harm).severity * (
            policy.review.unknown_probability if value is None else value
        )
        if best is None or weight > best[0]:
            best = (weight, reason.harm)
    return best[1] if best is not None else None


def _factor(policy: Policy, machine: Action, top: Sequence[Reason]) -> float:
    if machine != "demote":
        return 1.0
    return min(policy.classes.of(reason.harm).factor if reason.harm is not None else policy.factor for reason in top)


def _urgency(policy: Policy, top: Sequence[Reason]) -> Urgency:
    """Return real-time when any reason is urgent; what has no class could be anything, so it is."""
    urgent = any(reason.harm is None or policy.classes.of(reason.harm).urgency == "real-time" for reason in top)
    return "real-time" if urgent else "batch"


def _is_news(policy: Policy, case: Case, in_force: InForce, machine: Action, reasons: Sequence[Reason]) -> bool:
    """Say whether there is something that the person who decided could not know and that asks for more."""
    hits = {reason.rule[len(KNOWN) :] for reason in reasons if reason.rule.startswith(KNOWN)}
    if rank(machine) <= rank(in_force.action):
        return False
    if hits - set(in_force.seen_lists):
        return True
    since = [report for report in case.reports if report.at > in_force.decided_at]
    if _report_action(policy, _weights(policy, case, since))[0] != "allow":
        return True
    found = max((rank(r.action) for r in reasons if r.rule not in (FAILURE, REPORTS)), default=0)
    return found > max(rank(in_force.seen), rank(in_force.action))


def _person(in_force: InForce) -> Reason:
    return Reason(
        rule="reviewer",
        action=in_force.action,
        harm=in_force.harm,
        detail=f"decision {in_force.decision_id} of a person stands until the post changes",
    )
