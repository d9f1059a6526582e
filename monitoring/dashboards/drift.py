"""Drift: whether what models are asked and answer is still like what they learned from."""

from monitoring import catalogue as m
from monitoring.alerts import KS_AT_MOST, PSI_AT_MOST, SHIFT_AT_MOST
from monitoring.dashboards.panels import Dashboard, Limit, Panel, Row
from monitoring.promql import highest, summed

_RUNBOOK = "drift.md"
_BY = ("system", "feature")
_LEGEND = "{{system}} {{feature}}"


def _kind(kind: str) -> str:
    return f'kind="{kind}"'


DRIFT = Dashboard(
    "riverlight-drift",
    "Riverlight / Drift",
    (
        Row(
            "What models are asked",
            (
                Panel(
                    "Are inputs distributed as in training?",
                    "Population stability index of the last hour, less what is chance. 0.1 is worth a look. "
                    "`riverlight drift show` says what moved, and what each feature is compared with.",
                    "short",
                    _RUNBOOK,
                    ((highest(m.DRIFT_PSI, by=_BY, where=_kind("input")), _LEGEND),),
                    Limit(PSI_AT_MOST),
                ),
                Panel(
                    "Do vectors lie where they lay?",
                    "The highest index of their distance to the reference's mean and of their principal directions.",
                    "short",
                    _RUNBOOK,
                    ((highest(m.DRIFT_PSI, by=_BY, where=_kind("embedding")), _LEGEND),),
                    Limit(PSI_AT_MOST),
                ),
                Panel(
                    "How far did the mean of the vectors move?",
                    "In standard deviations of the reference's vectors, less what is chance.",
                    "short",
                    _RUNBOOK,
                    ((highest(m.DRIFT_SHIFT, by=_BY), _LEGEND),),
                    Limit(SHIFT_AT_MOST),
                ),
                Panel(
                    "How much is not known?",
                    "Share of the rows in which a feature is missing. A jump is a broken source more often than people "
                    "who changed.",
                    "percentunit",
                    _RUNBOOK,
                    ((highest(m.DRIFT_MISSING, by=_BY), _LEGEND),),
                ),
            ),
        ),
        Row(
            "What models answer",
            (
                Panel(
                    "Are scores distributed as in training?",
                    "Population stability index of the last hour's scores, by class.",
                    "short",
                    _RUNBOOK,
                    ((highest(m.DRIFT_PSI, by=_BY, where=_kind("score")), _LEGEND),),
                    Limit(PSI_AT_MOST),
                ),
                Panel(
                    "How far apart are the cumulative shares of scores?",
                    "Kolmogorov-Smirnov distance, less what is chance.",
                    "short",
                    _RUNBOOK,
                    ((highest(m.DRIFT_KS, by=_BY, where=_kind("score")), _LEGEND),),
                    Limit(KS_AT_MOST),
                ),
                Panel(
                    "How many features drift?",
                    "Features by verdict, of the process with the most. `too-few`: not enough rows to say.",
                    "short",
                    _RUNBOOK,
                    ((highest(m.DRIFT_FEATURES, by=("system", "verdict")), "{{system}} {{verdict}}"),),
                ),
                Panel(
                    "How much is there to compare?",
                    "Rows of the last hour in all processes; while a reference is made of them, how many are kept.",
                    "short",
                    _RUNBOOK,
                    (
                        (summed(m.DRIFT_ROWS, by=("system",)), "{{system}} compared"),
                        (highest(m.DRIFT_FIRST_ROWS, by=("system",)), "{{system}} first rows"),
                    ),
                ),
            ),
        ),
    ),
)
