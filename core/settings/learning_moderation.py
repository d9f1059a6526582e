"""Learning of the harm model from what people say of posts."""

from pydantic import Field

from core.settings.section import Section


class LearningModerationSettings(Section):
    """Learning of the harm model (`riverlight learn moderation`), and choosing posts to be labelled."""

    days: float = Field(90.0, gt=0, description="Posts of the last days are learned from and asked about.")
    max_posts: int = Field(
        20_000, ge=100, description="Of these the newest so many, at most. Higher: slower, each has to be embedded."
    )
    min_posts: int = Field(50, ge=10, description="Reported posts that are fresh, without which there is no round.")
    report_weight: float = Field(
        1.0,
        gt=0,
        description="Weight of the reports on a class from which they teach it, as the policy weighs `reports`. "
        "Accounts that are new, or of unknown age, and were never right teach nothing.",
    )
    impressions: int = Field(
        200, ge=1, description="Impressions without any report from which that teaches anything: the more, the more."
    )
    unreported_for_each: float = Field(
        3.0, ge=0, description="Posts that nobody reported which are learned for each that somebody did."
    )
    min_hand: int = Field(100, ge=10, description="Posts judged by hand that have to be asked about; fewer: held.")
    margin: float = Field(
        0.02,
        ge=0,
        description="A candidate is promoted when its ROC area on judged posts is surely (95 %) not lower by more "
        "than this; on texts of the base its mean may not be lower by more either.",
    )
    class_margin: float = Field(0.05, ge=0, description="By how much one class may fall on texts of the base.")
    pr_margin: float = Field(0.05, ge=0, description="By how much the mean precision-recall area may fall on them.")
    calibration: float = Field(0.03, ge=0, description="By how much the expected calibration error may grow.")
    steps: int = Field(300, ge=10, description="Steps of learning. More: closer to the reports, farther from before.")
    learning_rate: float = Field(3e-4, gt=0, description="Step size.")
    interval_s: float = Field(600.0, ge=0, description="With `--follow`: least time between the starts of two rounds.")
    label_budget: int = Field(50, ge=0, description="Posts a day that people are asked to label, at most.")
