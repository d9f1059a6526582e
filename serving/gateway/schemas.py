"""What goes in and out of the API, as pydantic models: FastAPI checks, documents and serialises with them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.ids import MEDIA_ID_PATTERN

MediaId = Annotated[str, Field(pattern=MEDIA_ID_PATTERN, description="SHA-256 of the media bytes, in hex.")]
ItemId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="A stable word for the kind of error.")
    trace_id: str
    errors: list[dict[str, Any]] = Field([], description="What is wrong, field by field or event by event.")


class MediaStored(Model):
    """Media that is stored; events can refer to it."""

    media_id: MediaId
    kind: Literal["image", "video"]
    mime: str
    width: int
    height: int
    duration_s: float | None = None


class RejectedEvent(Model):
    index: int = Field(description="Its place in what was sent, from 0.")
    error: str
    code: str


class Collected(Model):
    """What the collector made of a call."""

    accepted: list[str] = Field(description="Ids of the events that are durably taken.")
    rejected: list[RejectedEvent] = []
    queued: bool = Field(False, description="True when they wait in the outbox because the broker is not reachable.")


class SearchFilters(Model):
    """What every result must satisfy; a filter left out lets everything through."""

    owner_id: ItemId | None = None
    category: Annotated[str, Field(max_length=100)] | None = None
    language: Annotated[str, Field(max_length=35)] | None = None
    kind: Literal["image", "video"] | None = None
    tags_any: list[Annotated[str, Field(max_length=100)]] = Field([], max_length=50, description="At least one of.")
    region: Annotated[str, Field(pattern="^[A-Z]{2}$")] | None = Field(
        None, description="The viewer's country (ISO 3166-1 alpha-2); items blocked there are left out."
    )


class SearchOptions(Model):
    """How to search, whatever is searched for."""

    crop: tuple[Fraction, Fraction, Fraction, Fraction] | None = Field(
        None, description="Search by a part of the image: x, y, width, height as fractions of it."
    )
    k: int | None = Field(None, ge=1, description="Most results.")
    filters: SearchFilters = SearchFilters()
    min_score: float | None = Field(
        None, ge=-1, le=1, allow_inf_nan=False, description="Cosine below which an image is not similar."
    )
    include_query: bool = Field(
        False, description="Let the query image itself be among the results (to see whether it is indexed)."
    )
    explain: bool = Field(False, description="Also answer with every candidate and what re-ranking did with it.")

    @model_validator(mode="after")
    def _crop_is_inside(self) -> "SearchOptions":
        if self.crop is not None:
            x, y, width, height = self.crop
            if width <= 0 or height <= 0:
                raise ValueError("crop: width and height must be greater than 0")
            if x + width > 1 + 1e-9 or y + height > 1 + 1e-9:
                raise ValueError("crop: must lie inside the image (x + width <= 1, y + height <= 1)")
        return self


class SearchByReference(SearchOptions):
    """A search by stored media or by an indexed item (exactly one of them)."""

    media_id: MediaId | None = None
    item_id: ItemId | None = None

    @model_validator(mode="after")
    def _one_query(self) -> "SearchByReference":
        if (self.media_id is None) == (self.item_id is None):
            raise ValueError("give exactly one of media_id and item_id (or send a file as multipart/form-data)")
        return self


class SearchResult(Model):
    item_id: str
    score: float = Field(
        description="Cosine similarity to the query, in [-1, 1]; lowered where a post that shows the item is demoted."
    )
    media_id: str
    title: str
    owner_id: str
    tags: list[str]
    category: str


class CandidateVerdict(Model):
    """What re-ranking did with one candidate."""

    item_id: str
    score: float
    rank: int = Field(description="Place among the candidates, from 0.")
    position: int | None = Field(description="Place in the answer, from 0; null when removed.")
    reason: str | None = Field(None, description="Why it was removed.")
    because_of: str | None = Field(None, description="The result that it duplicates.")


class Explanation(Model):
    candidates: list[CandidateVerdict]
    min_score: float
    stages_ms: dict[str, float]


class SearchAnswer(Model):
    """Similar images, best first. An empty list means that nothing is similar enough."""

    results: list[SearchResult]
    trace_id: str
    model_version: str
    took_ms: float
    explain: Explanation | None = None


class ItemRestriction(Model):
    """A verdict about a post of the item's owner that names the item; the strictest of several."""

    state: Literal["demoted", "enforced"]
    factor: float = Field(description="What its scores count of what they would; 0 where it is shown to nobody.")
    harm: str | None
    decision_id: str
    post_id: str


class ItemState(Model):
    """An item: what was decided (catalogue) and what is searchable (index)."""

    item_id: str
    owner_id: str
    kind: str
    media_id: str
    title: str
    description: str
    tags: list[str]
    language: str
    category: str
    visibility: str
    blocked_regions: list[str]
    state: Literal["active", "hidden", "deleted"]
    unsafe: bool
    created_at: datetime
    updated_at: datetime
    indexed: bool = Field(description="The live index holds this version of the item.")
    restriction: ItemRestriction | None = Field(description="What moderation makes of it; null for most.")


class FeatureAnswer(Model):
    """The features of one entity as they are known now."""

    entity_id: str
    status: Literal["fresh", "stale", "missing"]
    as_of: datetime | None = Field(description="When they were computed.")
    values: dict[str, int | float | None]


class WhyNot(Model):
    """Why an item is, or is not, in an answer."""

    item_id: str
    in_answer: bool
    reason: str
    detail: str
    score: float | None = None
    position: int | None = None
    because_of: str | None = None
    harm: str | None = Field(None, description="Why a verdict takes it down or lowers it: the class of harm.")
    decision_id: str | None = Field(None, description="The decision behind that verdict.")


class RestrictionsState(Model):
    """What moderation takes down and lowers now, and how far the verdicts have been followed."""

    ready: bool = Field(description="Every verdict that there was at the start is known.")
    posts: dict[str, dict[str, int]] = Field(description="Restricted posts by state, then by class of harm.")
    items: dict[str, int] = Field(description="Items of their authors that they restrict, by state.")
    log: dict[str, Any]


class Trace(Model):
    """A recorded answer."""

    trace_id: str
    kind: str
    created_at: datetime
    payload: dict[str, Any]
    why: WhyNot | None = None
