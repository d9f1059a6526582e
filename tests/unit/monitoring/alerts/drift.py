"""Drift: inputs, vectors and scores that stay away from the reference."""

from monitoring.alerts import KS_AT_MOST, PSI_AT_MOST, SHIFT_AT_MOST
from tests.unit.monitoring.alerts.case import Case

_PSI = 'riverlight_drift_psi_ratio{system="moderation",kind="%s",feature="%s"}'
_KS = 'riverlight_drift_ks_ratio{system="moderation",kind="score",feature="%s"}'
_SHIFT = 'riverlight_drift_mean_shift_deviations{system="moderation",kind="embedding",feature="%s"}'
_REPLICA = 'riverlight_drift_psi_ratio{instance="%s",system="moderation",kind="input",feature="language"}'

_LANGUAGE = ({"system": "moderation", "feature": "language"},)
_TEXT = ({"system": "moderation", "feature": "text"},)
_SPAM = ({"system": "moderation", "feature": "spam"},)
_HIGH, _LOW = PSI_AT_MOST + 0.05, PSI_AT_MOST - 0.05

_LANGUAGE_PSI, _TEXT_PSI, _SPAM_PSI = (
    _PSI % pair for pair in (("input", "language"), ("embedding", "text"), ("score", "spam"))
)

CASES: list[Case] = [
    Case(
        "InputDrift",
        "another language came and stays",
        {_LANGUAGE_PSI: f"0.01x10 {_HIGH}x40"},
        "30m",
        _LANGUAGE,
    ),
    Case(
        "InputDrift",
        "one of two replicas sees it",
        {_REPLICA % "a": f"{_HIGH}x40", _REPLICA % "b": "0.01x40"},
        "30m",
        _LANGUAGE,
    ),
    Case(
        "InputDrift",
        "it came and went within a quarter of an hour",
        {_LANGUAGE_PSI: f"{_HIGH}x10 {_LOW}x30"},
        "20m",
    ),
    Case(  # what a moderator showed: texts of the training mix, then every hundred posts of translated programs' lines
        "InputDrift",
        "a flood of Spanish, as it was measured",
        {
            _LANGUAGE_PSI: "0x10 0.21x2 0.426x2 0.81x2 0.983x2 1.291x2 1.441x30",
            _TEXT_PSI: "0.034x10 0.091x2 0.141x2 0.252x2 0.308x2 0.42x2 0.473x30",
        },
        "35m",
        _LANGUAGE,
    ),
    Case("InputDrift", "too few rows to say", {_LANGUAGE_PSI: " ".join(["NaN"] * 40)}, "30m"),
    Case(
        "InputDrift",
        "scores drift, inputs do not",
        {_SPAM_PSI: f"{_HIGH}x40", _LANGUAGE_PSI: "0x40"},
        "30m",
    ),
    Case("EmbeddingDrift", "a direction of the vectors", {_TEXT_PSI: f"{_HIGH}x40"}, "30m", _TEXT),
    Case(
        "EmbeddingDrift",
        "the same flood of Spanish",
        {_TEXT_PSI: "0.034x10 0.091x2 0.141x2 0.252x2 0.308x2 0.42x2 0.473x30"},
        "40m",
        _TEXT,
    ),
    Case(
        "EmbeddingDrift",
        "their mean alone",
        {_TEXT_PSI: f"{_LOW}x40", _SHIFT % "text": f"{SHIFT_AT_MOST + 0.05}x40"},
        "30m",
        _TEXT,
    ),
    Case(
        "EmbeddingDrift",
        "neither far enough",
        {_TEXT_PSI: f"{_LOW}x40", _SHIFT % "text": f"{SHIFT_AT_MOST - 0.05}x40"},
        "30m",
    ),
    Case("ScoreDrift", "many more posts look like spam", {_SPAM_PSI: f"{_HIGH}x40"}, "30m", _SPAM),
    Case(
        "ScoreDrift",
        "the cumulative shares alone",
        {_SPAM_PSI: "0.1x40", _KS % "spam": f"{KS_AT_MOST + 0.05}x40"},
        "30m",
        _SPAM,
    ),
    Case("ScoreDrift", "as in training", {_SPAM_PSI: "0.02x40", _KS % "spam": "0.03x40"}, "30m"),
]
