"""Moderation: what is decided about posts, how fast, and what waits."""

from monitoring import catalogue as m
from monitoring.dashboards.panels import Dashboard, Limit, Panel, Row
from monitoring.promql import highest, increase, quantile, rate

_RUNBOOK = "moderation.md"
_SYSTEM = 'system=~"moderation|moderation_challenger"'

MODERATION = Dashboard(
    "riverlight-moderation",
    "Riverlight / Moderation",
    (
        Row(
            "What is decided",
            (
                Panel(
                    "What is decided about posts?",
                    "Decisions a second, by action. `review`: a person looks, and the post is shown meanwhile.",
                    "ops",
                    _RUNBOOK,
                    ((rate(m.MODERATION_DECISIONS, by=("action",)), "{{action}}"),),
                ),
                Panel(
                    "For which harm?",
                    "Decisions of the last ten minutes that restrict, by class of harm.",
                    "short",
                    _RUNBOOK,
                    (
                        (
                            increase(m.MODERATION_DECISIONS, by=("harm",), where='action=~"demote|enforce"'),
                            "{{harm}}",
                        ),
                    ),
                ),
                Panel(
                    "Who decides?",
                    "Decisions of the last ten minutes, by who made them.",
                    "short",
                    _RUNBOOK,
                    ((increase(m.MODERATION_DECISIONS, by=("actor",)), "{{actor}}"),),
                ),
                Panel(
                    "How long does a post wait for its decision?",
                    "95 and 99 of 100 posts, from being written to being decided.",
                    "s",
                    _RUNBOOK,
                    tuple(
                        (quantile(share, m.MODERATION_DECISION_SECONDS, window="10m"), f"p{share * 100:g}")
                        for share in (0.95, 0.99)
                    ),
                    Limit(1.0),
                ),
            ),
        ),
        Row(
            "Does it work?",
            (
                Panel(
                    "How much of what people see is harmful?",
                    "Prevalence: the share of the impressions of seven days that showed something harmful, with its "
                    "95 % interval, from impressions drawn by chance. No line: people have looked at too few.",
                    "percentunit",
                    _RUNBOOK,
                    ((highest(m.MODERATION_PREVALENCE, by=("bound",), where='harm="any"'), "{{bound}}"),),
                ),
                Panel(
                    "Which harm?",
                    "Prevalence by class of harm.",
                    "percentunit",
                    _RUNBOOK,
                    (
                        (
                            highest(m.MODERATION_PREVALENCE, by=("harm",), where='harm!="any",bound="value"'),
                            "{{harm}}",
                        ),
                    ),
                ),
                Panel(
                    "How many saw what was taken down?",
                    "Impressions that the posts taken down in seven days had before.",
                    "short",
                    _RUNBOOK,
                    ((highest(m.MODERATION_HARMFUL_IMPRESSIONS, by=("harm",)), "{{harm}}"),),
                ),
                Panel(
                    "Is it found before it is reported, and rightly?",
                    "Of seven days: the share of what was taken down that nobody had reported before, and of appeals "
                    "decided that were reversed.",
                    "percentunit",
                    _RUNBOOK,
                    (
                        (highest(m.MODERATION_PROACTIVE, where='bound="value"'), "found before a report"),
                        (highest(m.MODERATION_VALID_APPEALS, where='bound="value"'), "appeals reversed"),
                    ),
                ),
            ),
        ),
        Row(
            "How soon?",
            (
                Panel(
                    "How long until something is done?",
                    "Of seven days: from a post to its being taken down, and from a post's first report to the next "
                    "decision about it (what waits counts as longer than it has waited).",
                    "s",
                    _RUNBOOK,
                    ((highest(m.MODERATION_ACTION_SECONDS, by=("what", "quantile")), "{{what}} {{quantile}}"),),
                ),
                Panel(
                    "What do people report?",
                    "Reports of seven days by the class that was named.",
                    "short",
                    _RUNBOOK,
                    ((highest(m.MODERATION_REPORTS, by=("harm",)), "{{harm}}"),),
                ),
                Panel(
                    "Is the sample looked at?",
                    "Posts of impressions drawn by chance. Prevalence is only as new as their review.",
                    "short",
                    _RUNBOOK,
                    ((highest(m.MODERATION_SAMPLED, by=("state",)), "{{state}}"),),
                ),
            ),
        ),
        Row(
            "The moderator",
            (
                Panel(
                    "Can posts be scored?",
                    "Posts a second that were scored, scored in part, or not at all. The last are reviewed by people.",
                    "ops",
                    _RUNBOOK,
                    (
                        (rate(m.MODERATION_SCORED, by=("outcome",)), "{{outcome}}"),
                        (rate(m.MODERATION_UNANSWERED), "no answer in time"),
                    ),
                ),
                Panel(
                    "How long does each stage take?",
                    "99 of 100 batches, by stage.",
                    "s",
                    _RUNBOOK,
                    ((quantile(0.99, m.MODERATION_SECONDS, by=("stage",)), "{{stage}}"),),
                ),
                Panel(
                    "How many texts are new?",
                    "Texts a second that had to be encoded, and that were remembered: spam repeats itself.",
                    "ops",
                    _RUNBOOK,
                    ((rate(m.MODERATION_TEXTS, by=("outcome",)), "{{outcome}}"),),
                ),
                Panel(
                    "Which models and policies came and went?",
                    "Of the last ten minutes: looks at the registry that found another version, and at a changed "
                    "policy file. `refused`: the one before stays in force.",
                    "short",
                    _RUNBOOK,
                    (
                        (increase(m.MODEL_LOADS, by=("system", "outcome"), where=_SYSTEM), "{{system}} {{outcome}}"),
                        (increase(m.MODERATION_POLICY, by=("outcome",)), "policy {{outcome}}"),
                    ),
                ),
            ),
        ),
        Row(
            "Reactions",
            (
                Panel(
                    "How many posts wait to be judged again?",
                    "Posts with reactions since they were judged; the most valuable first, within "
                    "`moderation.rescore_per_s`.",
                    "short",
                    _RUNBOOK,
                    ((highest(m.MODERATION_WAITING), "posts"),),
                ),
                Panel(
                    "Does judging again change anything?",
                    "Posts a second, by what came of it.",
                    "ops",
                    _RUNBOOK,
                    ((rate(m.MODERATION_RESCORED, by=("outcome",)), "{{outcome}}"),),
                ),
            ),
        ),
        Row(
            "Learning",
            (
                Panel(
                    "Would the challenger decide otherwise?",
                    "Posts a second that a challenger scored beside the champion, by what the policy would have made "
                    "of its scores. No line: there is no challenger.",
                    "ops",
                    _RUNBOOK,
                    ((rate(m.MODERATION_SHADOW, by=("outcome",)), "{{outcome}}"),),
                ),
                Panel(
                    "What became of what was learned?",
                    "Versions that learned from what people said, by what the gate made of them.",
                    "short",
                    _RUNBOOK,
                    ((highest(m.MODERATION_CANDIDATES, by=("outcome",)), "{{outcome}}"),),
                ),
            ),
        ),
    ),
)
