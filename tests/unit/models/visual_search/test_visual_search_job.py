"""From installed data to a model the registry accepts, on a tiny data set."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from visual_search_pictures import gradient, shape

from core.errors import NotFound
from core.settings import EncoderSettings
from models.datasets.splits import emoji_family, split_of
from models.registry.manifest import CARD, verify
from models.registry.packaged import open_registry
from models.visual_search.fit import TrainSettings
from models.visual_search.load import load_encoder
from models.visual_search.train import train_visual_search

SMALL = TrainSettings(
    dim=16, input_px=32, tune_blocks=1, views=1, epochs=1, batch_size=4, learning_rate=1e-4, threads=1
)


def tiny_emoji(home: Path) -> None:
    """Lay out a data set `emoji` as its installer would, with shapes instead of emoji."""
    folder = home / "data" / "emoji"
    entries = []
    needed = {"train": 8, "validation": 3, "test": 4}
    for code in range(0x1F400, 0x1F600):
        name = f"{code:X}"
        split = split_of(emoji_family(name))
        if needed[split] == 0:
            continue
        needed[split] -= 1
        entries.append(
            {
                "unified": name,
                "name": name,
                "short_names": [name],
                "category": "c",
                "subcategory": "s",
                "image": f"{name.lower()}.png",
                "has_img_google": True,
                "has_img_twitter": True,
            }
        )
        for vendor, style in (("google", "filled"), ("twitter", "outline")):
            (folder / vendor).mkdir(parents=True, exist_ok=True)
            shape(code, style).save(folder / vendor / f"{name.lower()}.png")
    (folder / "emoji.json").write_text(json.dumps(entries))
    (folder / "dataset.json").write_text(json.dumps({"images": 2 * len(entries)}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    tiny_emoji(home)
    return home, train_visual_search(home, home / "run", SMALL, command="riverlight train visual-search")


def test_a_training_leaves_a_model_folder_with_lineage_metrics_and_card(trained):
    _, result = trained
    manifest = verify(result.folder)
    assert manifest.data["concepts"] == 8
    assert manifest.data["pairs"] == 8
    assert manifest.settings["seed"] == SMALL.seed
    assert manifest.metrics["tasks"]["google-to-twitter"]["queries"] == 4
    assert {"model", "frozen", "frozen, whitened", "frozen, 224 px"} <= set(
        manifest.metrics["tasks"]["google-to-twitter"]
    )
    card = (result.folder / CARD).read_text()
    for said in (manifest.version, "google-to-twitter", "Weaknesses", "8 concepts"):
        assert said in card


def test_a_registered_training_serves_under_its_label(trained):
    home, result = trained
    registry = open_registry(home, packaged={})
    registry.register("visual-search", result.folder, alias="champion")
    encoder = load_encoder(EncoderSettings(threads=1), registry)
    assert encoder.version == result.label
    assert encoder.encode([gradient()]).shape == (1, 16)


def test_the_same_training_makes_the_same_bytes(trained, tmp_path):
    home, result = trained
    again = train_visual_search(home, tmp_path, SMALL)
    assert again.manifest.sha256 == result.manifest.sha256


def test_resuming_a_finished_training_trains_no_more(trained):
    home, result = trained
    stages: list[str] = []
    again = train_visual_search(
        home, result.folder, SMALL, resume=True, report=lambda stage, done, total: stages.append(stage)
    )
    assert again.manifest.sha256 == result.manifest.sha256
    assert not any(stage.startswith(("epoch", "frozen features")) for stage in stages)


def test_training_on_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(NotFound, match="no data set 'imagenet'"):
        train_visual_search(tmp_path, tmp_path / "run", replace(SMALL), datasets=("imagenet",))


def test_the_packaged_encoder_gives_the_stored_embedding(tmp_path):
    golden = json.loads((Path(__file__).parent / "golden_embedding.json").read_text())
    encoder = load_encoder(EncoderSettings(threads=1), open_registry(tmp_path))
    assert encoder.version == golden["version"], "new default weights: see visual_search_pictures.py"
    similarity = float(encoder.encode([gradient()])[0] @ np.array(golden["embedding"], np.float32))
    assert similarity == pytest.approx(1.0, abs=1e-4)
