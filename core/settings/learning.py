"""Learning from the stream: when, from how much, and when what was learned is served."""

from pydantic import Field

from core.settings.section import Section


class LearningSettings(Section):
    """Incremental learning of the recommender (`riverlight learn recommendation`)."""

    min_events: int = Field(
        500, ge=10, description="Fresh interactions with videos that a round needs. Lower: sooner, and from less."
    )
    interval_s: float = Field(
        120.0, ge=0, description="With `--follow`: least time from the start of a round to the start of the next."
    )
    held_out: float = Field(
        0.2, gt=0, lt=1, description="Newest share of the fresh interactions: both versions are asked about them."
    )
    min_users: int = Field(30, ge=2, description="Users that have to be asked before anything is promoted.")
    max_questions: int = Field(
        2_000, ge=10, description="Held-out videos asked about, and examples of the ranker, at most. Higher: slower."
    )
    margin: float = Field(
        0.01,
        ge=0,
        description="A candidate is promoted when its nDCG@10 is surely (95 %) not lower by more than this.",
    )
    tower_epochs: int = Field(3, ge=1, description="Passes of the towers over what is fresh.")
    ranker_epochs: int = Field(2, ge=1, description="Passes of the ranker over what is fresh.")
    rate: float = Field(0.3, gt=0, le=1, description="Step size, as a share of what the model was trained with.")
    feature_log_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of answers whose trace also keeps what the models saw of the viewer, to compare with the "
        "archive.",
    )
