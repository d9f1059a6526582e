"""The store of record of moderation: posts, decisions, reports, review jobs, appeals, known harm, and the audit log."""

from storage.moderation.appeals import Appeal
from storage.moderation.audit import AuditEntry, Head
from storage.moderation.audit_check import AuditCheck
from storage.moderation.authors import Author, ProfileChange, Strike
from storage.moderation.decisions import StaleDecision, Told
from storage.moderation.erasing import Erasure
from storage.moderation.jobs import NewJob, ReviewJob
from storage.moderation.known_harm import KnownChange, KnownHash
from storage.moderation.policies import PolicyText
from storage.moderation.posts import StoredPost
from storage.moderation.reactions import ReactionDelta, Reactions
from storage.moderation.recording import Recorded
from storage.moderation.reports import Report, Reporter
from storage.moderation.review import Reviewed
from storage.moderation.scanning import ScannedPost
from storage.moderation.store import ModerationStore
from storage.moderation.sweeping import Undone
from storage.moderation.sweeps import Sweep
from storage.moderation.work import Cause

__all__ = [
    "Appeal",
    "AuditCheck",
    "AuditEntry",
    "Author",
    "Cause",
    "Erasure",
    "Head",
    "KnownChange",
    "KnownHash",
    "ModerationStore",
    "NewJob",
    "PolicyText",
    "ProfileChange",
    "ReactionDelta",
    "Reactions",
    "Recorded",
    "Report",
    "Reporter",
    "ReviewJob",
    "Reviewed",
    "ScannedPost",
    "StaleDecision",
    "StoredPost",
    "Strike",
    "Sweep",
    "Told",
    "Undone",
]
