"""Harmful content: the words that models, policy, streams and serving share.

A *signal* is a number about a post. A *verdict* is what a machine makes of signals under a policy. A *decision* is what
holds for a post from a moment on, with an actor: the machine, or a person. `moderation.decisions.v1` carries decisions;
`moderation.verdicts.v1` (compacted, keyed by post) carries what indexes and feeds need of the newest one. A *label* is
what a person said of a post; `moderation.labels.v1` carries them.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Protocol, get_args

import msgspec
from msgspec import Meta, Struct

from core.entries import Version
from core.errors import InvalidEvent

HarmClass = Literal["violence", "nudity", "hate", "self_harm", "spam"]
HARM_CLASSES: tuple[HarmClass, ...] = get_args(HarmClass)

#: From least to most. `review`: shown as before while a person looks. `demote`: shown less while a person looks.
#: `enforce`: shown to nobody but its author and reviewers.
Action = Literal["allow", "review", "demote", "enforce"]
ACTIONS: tuple[Action, ...] = get_args(Action)

#: `model`: a verdict became the decision without a person. `reviewer`: a review job. `appeal`: a review of an appeal.
#: `sweep`: a policy applied to what was decided before, or such a sweep taken back.
ActorKind = Literal["model", "reviewer", "appeal", "sweep"]

Urgency = Literal["real-time", "batch"]

# --- what is asked of the models ---------------------------------------------------------------------------------


class AuthorFacts(Struct, kw_only=True, frozen=True, gc=False):
    """What is known of an author when a post is scored; None is unknown."""

    violations: int | None = None  # decisions that enforced and still stand
    reports_received: int | None = None
    profane_rate: float | None = None  # share of the words of past posts
    posts: int | None = None
    followers: int | None = None
    account_age_days: float | None = None
    age_band: str | None = None
    gender: str | None = None
    city: str | None = None
    country: str | None = None


class ReactionFacts(Struct, kw_only=True, frozen=True, gc=False):
    """What others did with a post so far. `reports` is weighted: see `models.moderation.policy.reports`."""

    impressions: int = 0
    likes: int = 0
    shares: int = 0
    comments: int = 0
    reports: float = 0.0


class PostToScore(Struct, kw_only=True, frozen=True, gc=False):
    """A post as the models are asked about it."""

    post_id: str
    text: str = ""
    language: str = "und"
    media_ids: list[str] = []
    links: list[str] = []
    device: str | None = None
    posted_at: datetime
    author: AuthorFacts = AuthorFacts()
    reactions: ReactionFacts = ReactionFacts()
    comments: list[str] = []  # the newest, at most 20
    upload: bool = False  # of an upload that nobody posted: its title, description and tags are the text


# --- what they answer --------------------------------------------------------------------------------------------


class TextEvidence(Struct, kw_only=True, frozen=True, tag="text", gc=False):
    """Words that speak for a harm: `text[start:end]`, and how much the probability falls without them."""

    harm: HarmClass
    start: int
    end: int
    quote: str
    weight: float


class MediaEvidence(Struct, kw_only=True, frozen=True, tag="media", gc=False):
    """A part of an image (`region`: x, y, width, height as fractions) or the whole of a medium."""

    harm: HarmClass
    media_id: str
    weight: float
    region: tuple[float, float, float, float] | None = None


Evidence = TextEvidence | MediaEvidence


class ChallengerScores(Struct, kw_only=True, frozen=True, gc=False):
    """What a second model says of the same post. It decides nothing; it is compared.

    `took_s` is how long it took for the post, `beside_s` how long the model took that decides; None: not measured.
    """

    model_version: str
    scores: dict[HarmClass, float | None]
    took_s: float | None = None
    beside_s: float | None = None


class PostScores(Struct, kw_only=True, frozen=True, tag_field="outcome", tag="scores", gc=False):
    """What the models say of one post. A class without a probability is unknown, never harmless."""

    post_id: str
    scores: dict[HarmClass, float | None]  # calibrated probabilities
    shares: dict[HarmClass, dict[str, float]] = {}  # by class, how much each modality contributes to its logit
    signals: dict[str, float] = {}  # nsfw, profane_rate, obfuscation, ...: what rules may ask about
    language: str = "und"
    phashes: dict[str, list[str]] = {}  # media id -> perceptual hashes of the image or of the frames
    missing: list[str] = []  # what could not be looked at: `text`, `media:<id>: code`
    evidence: list[Evidence] = []
    model_version: str
    text_version: str = ""
    image_version: str = ""
    challenger: ChallengerScores | None = None


class ScoreFailure(Struct, kw_only=True, frozen=True, tag_field="outcome", tag="failure", gc=False):
    """Why a post has no scores. It is reviewed by a person, never let through."""

    post_id: str
    code: str
    message: str
    transient: bool


class Moderator(Protocol):
    """The scoring service: posts in, scores or a failure for each out."""

    async def score(
        self, posts: Sequence[PostToScore], *, explain: bool = False, timeout_s: float = 5.0
    ) -> list[PostScores | ScoreFailure]:
        """Score posts, in the order asked. `explain` also finds evidence, at several times the cost.

        It is for a second look at posts that were scored before: they are not counted (also for drift) or compared with
        a challenger's scores once more.

        Raises Unavailable (or Overloaded) only when the service as a whole did not answer.
        """
        ...


# --- decisions ---------------------------------------------------------------------------------------------------


class Reason(Struct, kw_only=True, frozen=True, gc=False):
    """Why an action was taken: the rule of the policy, and what it was applied to."""

    rule: str  # `violence.enforce`, `known-harm.LIST`, `rule.NAME`, `strikes.N`, `failure`, `reports`, `reviewer`
    action: Action
    harm: HarmClass | None = None
    value: float | None = None  # the signal that was compared
    threshold: float | None = None
    detail: str = ""


class Decision(Struct, kw_only=True, frozen=True, gc=False):
    """What holds for a post from `decided_at` on. The one with the greatest `version` is in force."""

    decision_id: str
    post_id: str
    author_id: str
    action: Action
    version: Version
    reasons: list[Reason]
    actor: ActorKind
    actor_id: str = ""  # who: a reviewer's id, a sweep's id; empty for the machine
    automated: bool = True
    harm: HarmClass | None = None  # the class that weighs most
    factor: float = 1.0  # what a demoted post's scores are multiplied with, in (0, 1]
    urgency: Urgency = "real-time"
    scores: dict[HarmClass, float | None] = {}
    shares: dict[HarmClass, dict[str, float]] = {}
    signals: dict[str, float] = {}
    evidence: list[Evidence] = []
    missing: list[str] = []
    item_ids: list[str] = []
    policy_version: str
    model_version: str = ""
    text_version: str = ""
    image_version: str = ""
    note: str = ""  # a person's words
    supersedes: str | None = None  # the decision that was in force before
    event_id: str  # what caused it
    trace_id: str = ""
    decided_at: datetime


class Verdict(Struct, kw_only=True, frozen=True, gc=False):
    """What indexes and feeds need of the decision in force. Restricts only items that the post's author owns."""

    post_id: str
    author_id: str
    state: Literal["clear", "demoted", "enforced"]
    version: Version
    item_ids: Annotated[list[str], Meta(max_length=100)] = []
    factor: float = 1.0
    harm: HarmClass | None = None
    decision_id: str = ""
    decided_at: datetime
    event_time: datetime | None = None  # when its cause happened: freshness is measured from there


class Label(Struct, kw_only=True, frozen=True, gc=False):
    """What a person said of a post: what models learn from and are measured by."""

    label_id: str
    post_id: str
    source: Literal["review", "appeal", "sample"]
    harms: dict[HarmClass, bool]  # a class that is not named was not judged
    action: Action  # what the person decided
    harm: HarmClass | None = None
    before: Action  # what was in force when they looked
    sample_rate: float | None = None  # of a `sample`: the share of impressions (or posts) that it stands for
    reviewer_id: str
    decision_id: str
    language: str = "und"
    scores: dict[HarmClass, float | None] = {}  # the machine's, at the time
    policy_version: str = ""
    model_version: str = ""
    event_id: str  # the review job
    labelled_at: datetime


_ENCODER = msgspec.json.Encoder()
_DECISION, _VERDICT = msgspec.json.Decoder(Decision), msgspec.json.Decoder(Verdict)
_LABEL = msgspec.json.Decoder(Label)


def verdict_of(decision: Decision, event_time: datetime | None = None) -> Verdict:
    """Return what a decision means for indexes and feeds."""
    state: Literal["clear", "demoted", "enforced"] = "clear"
    if decision.action in ("enforce", "demote"):
        state = "enforced" if decision.action == "enforce" else "demoted"
    return Verdict(
        post_id=decision.post_id,
        author_id=decision.author_id,
        state=state,
        version=decision.version,
        item_ids=list(decision.item_ids),
        factor=decision.factor if state == "demoted" else 1.0,
        harm=decision.harm,
        decision_id=decision.decision_id,
        decided_at=decision.decided_at,
        event_time=event_time,
    )


def encode_moderation(record: Decision | Verdict | Label) -> bytes:
    """Return a decision, verdict or label as a record value."""
    return _ENCODER.encode(record)


def decode_decision(value: bytes) -> Decision:
    """Read a decision back. Raises InvalidEvent when it is none."""
    try:
        return _DECISION.decode(value)
    except msgspec.MsgspecError as error:
        raise InvalidEvent(f"not a moderation decision: {error}") from error


def decode_verdict(value: bytes) -> Verdict:
    """Read a verdict back. Raises InvalidEvent when it is none."""
    try:
        return _VERDICT.decode(value)
    except msgspec.MsgspecError as error:
        raise InvalidEvent(f"not a moderation verdict: {error}") from error


def decode_label(value: bytes) -> Label:
    """Read a label back. Raises InvalidEvent when it is none."""
    try:
        return _LABEL.decode(value)
    except msgspec.MsgspecError as error:
        raise InvalidEvent(f"not a label: {error}") from error
