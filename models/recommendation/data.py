"""Where feedback to learn from comes from: MovieLens 100K, or anybody's CSV."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.datasets import movielens
from models.datasets.catalogue import find_dataset, installed_folder
from models.recommendation.csv_files import read_interactions, read_table
from models.recommendation.feedback import Feedback
from models.recommendation.interactions import InteractionLog
from models.recommendation.labels import RelevanceRule, label, rule_for
from models.registry.manifest import file_sha256

DEFAULT = "ml-100k"


@dataclass(frozen=True)
class Loaded:
    """Feedback, the rule that made it, and what a manifest records of where it came from."""

    feedback: Feedback
    log: InteractionLog
    rule: RelevanceRule
    source: dict[str, Any]


def load_feedback(
    home: Path,
    *,
    interactions: Path | None = None,
    items: Path | None = None,
    users: Path | None = None,
    relevant_from: float | None = None,
) -> Loaded:
    """Read the files, or MovieLens 100K where no interactions are given.

    Raises:
        InvalidInput: a file is wrong; the message names the rows.
        ConfigurationError: MovieLens is wanted and not installed.
    """
    source: dict[str, Any] = {}
    if interactions is None:
        folder = installed_folder(DEFAULT, home)
        interactions, items, users = (folder / name for name in movielens.FILES)
        spec = find_dataset(DEFAULT)
        source = {"dataset": spec.name, "source": spec.source, "licence": spec.licence}
    item_table = read_table(items, "item") if items else None
    user_table = read_table(users, "user") if users else None
    log = read_interactions(interactions, items=item_table, users=user_table)
    rule = rule_for(log, rating_from=relevant_from)
    feedback = replace(label(log, rule), item_table=item_table, user_table=user_table)
    for name, path in (("interactions", interactions), ("items", items), ("users", users)):
        if path is not None:
            source[f"{name}_sha256"] = file_sha256(path)
    return Loaded(feedback, log, rule, source)
