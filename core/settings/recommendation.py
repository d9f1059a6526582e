"""The recommender: the videos on a person's homepage."""

from pydantic import Field

from core.settings.section import Section

#: The registered model that is learned and served unless the settings say otherwise: `name@alias` in the registry.
SERVED_MODEL = "recommendation-quick-system"
SERVED_ALIAS = "champion"


class RecommendationSettings(Section):
    """The recommender: candidates, scores, re-ranking, exploration."""

    enabled: bool = Field(True, description="Follow videos and interactions, and answer `/v1/recommendations`.")
    default_k: int = Field(24, ge=1, description="Videos in an answer when the request does not say.")
    max_k: int = Field(200, ge=1, description="Most videos a request may ask for.")

    candidates: int = Field(
        1_000, ge=10, description="Candidates scored for one answer at most. Higher: better answers for latency."
    )
    per_generator: int = Field(250, ge=1, description="Candidates asked of each generator.")
    generator_deadline_s: float = Field(
        0.06, gt=0, description="A generator that takes longer is left out of the answer, which says so."
    )
    ranker_deadline_s: float = Field(
        0.06, gt=0, description="A ranker that takes longer is left out: the generators' scores are blended instead."
    )

    model: str = Field(
        f"{SERVED_MODEL}@{SERVED_ALIAS}",
        pattern=r"^([a-z0-9][a-z0-9-]{0,63}(@[a-z0-9]+)?)?$",
        description="Trained system that answers, as `name@alias` or `name@version` of the model registry. A version "
        "that is promoted later takes over without a restart. Empty, or nothing registered: no trained model.",
    )
    model_check_s: float = Field(5.0, gt=0, description="Time between looks whether another version is promoted.")
    scored_whole: int = Field(
        50_000,
        ge=0,
        description="Trained videos up to which the two towers score all of them for each answer. Of more, they search "
        "an index: approximate, and faster.",
    )

    pick_weight: float = Field(
        20.0,
        ge=0,
        description="How much it counts which candidates the ranker would pick, beside what it predicts of each.",
    )
    click_weight: float = Field(0.3, ge=0, description="How much the chance of a click counts.")
    watch_weight: float = Field(1.0, ge=0, description="How much the share watched counts.")
    like_weight: float = Field(0.7, ge=0, description="How much the chance of a like counts.")
    dislike_weight: float = Field(
        0.2, ge=0, description="How much likeness to what the viewer disliked or hid lately counts against a video."
    )
    freshness_weight: float = Field(0.05, ge=0, description="How much being new counts.")
    freshness_half_life_h: float = Field(72.0, gt=0, description="Age at which a video is half as new.")
    min_factor: float = Field(
        0.2, ge=0, le=1, description="A video that a verdict demotes to less of its score is not recommended at all."
    )

    diversity: float = Field(
        0.15, ge=0, le=1, description="0: by score alone; 1: each video as unlike those before it as can be (MMR)."
    )
    near_duplicate_score: float = Field(
        0.985, ge=0, le=1, description="Videos whose content vectors are at least this similar are near-duplicates."
    )
    per_creator: int = Field(
        3, ge=1, description="Videos of one creator in an answer, while there are enough of others."
    )
    small_creator_share: float = Field(
        0.2, ge=0, le=1, description="Share of places kept for the half of creators that was shown least so far."
    )
    temperature: float = Field(
        0.01,
        ge=0,
        description="Chance in choosing among videos of nearly the same score, so that answers can be evaluated "
        "off-policy. 0: none.",
    )

    exploration_share: float = Field(0.1, ge=0, le=1, description="Share of places kept for new videos that are due.")
    promised_impressions: int = Field(100, ge=1, description="Impressions that each new video is promised.")
    promise_hours: float = Field(24.0, gt=0, description="Hours from its upload in which it is to get them.")

    popularity_half_life_h: float = Field(168.0, gt=0, description="Time in which what counts for popular halves.")
    trending_half_life_h: float = Field(6.0, gt=0, description="Time in which what counts for trending halves.")
    max_users: int = Field(
        1_000_000, ge=1, description="Users remembered in a replica; those inactive for longest are forgotten."
    )
    max_seen: int = Field(
        50_000_000, ge=1, description="Videos seen by all of them together that are remembered, 4 bytes each."
    )
    snapshot_interval_s: float = Field(120.0, gt=0, description="Time between snapshots of the state.")
    snapshots_kept: int = Field(2, ge=1, description="Snapshots kept.")
