"""From scores to what is done: the policy file, its rules, decisions, the review order, the author's notice."""

from models.moderation.policy.case import Case, InForce, KnownHit, Outcome, PostReport, UnknownRule, in_force_of
from models.moderation.policy.decide import decide
from models.moderation.policy.file import PolicyFile, PolicyState
from models.moderation.policy.load import load_policy, packaged_policy, parse_policy
from models.moderation.policy.priority import appeal_priority, priority
from models.moderation.policy.reports import ReportWeights, weigh
from models.moderation.policy.schema import Policy, rank

__all__ = [
    "Case",
    "InForce",
    "KnownHit",
    "Outcome",
    "Policy",
    "PolicyFile",
    "PolicyState",
    "PostReport",
    "ReportWeights",
    "UnknownRule",
    "appeal_priority",
    "decide",
    "in_force_of",
    "load_policy",
    "packaged_policy",
    "parse_policy",
    "priority",
    "rank",
    "weigh",
]
