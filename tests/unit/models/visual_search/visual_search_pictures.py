"""Pictures made in code: simple shapes in two styles, the same on every machine.

After new default weights were committed, `python tests/unit/models/visual_search/visual_search_pictures.py` (with the
repository root in PYTHONPATH) writes the new stored embedding.
"""

import json
import math
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.datasets.spec import LabelledImage, Split


def shape(concept: int, style: str, px: int = 64) -> Image.Image:
    """Draw concept number `concept`, filled on white (`filled`) or as a grey outline (`outline`)."""
    generator = np.random.default_rng(concept)
    corners, phase = 3 + concept % 6, float(generator.random() * 6)
    radii = px * (0.25 + 0.2 * generator.random(corners))
    points = [
        (
            px / 2 + radius * math.cos(phase + 2 * math.pi * corner / corners),
            px / 2 + radius * math.sin(phase + 2 * math.pi * corner / corners),
        )
        for corner, radius in enumerate(radii)
    ]
    image = Image.new("RGB", (px, px), "white")
    draw = ImageDraw.Draw(image)
    colour = tuple(int(value) for value in generator.integers(0, 200, 3))
    if style == "filled":
        draw.polygon(points, fill=colour)
    else:
        draw.polygon(points, outline=(90, 90, 90), width=4)
        draw.ellipse((px * 0.4, px * 0.4, px * 0.6, px * 0.6), fill=colour)
    return image


def gradient(height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """Return a colour gradient with a dark disc: the picture behind the stored embedding."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack([columns * 255 // (width - 1), rows * 255 // (height - 1), (rows + columns) % 256], axis=2)
    image[(rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 4) ** 2] = (20, 30, 40)
    return image.astype(np.uint8)


def save_shapes(folder: Path, concepts: range, split: Split) -> list[LabelledImage]:
    """Write each concept in both styles and describe them."""
    images = []
    for concept in concepts:
        for style in ("filled", "outline"):
            path = folder / f"{concept}-{style}.png"
            shape(concept, style).save(path)
            images.append(LabelledImage(path, f"shape-{concept}", style, f"Shape {concept}", (), "shape", split))
    return images


def write_golden_embedding() -> None:
    """Store what the packaged encoder makes of the gradient."""
    from core.settings import EncoderSettings
    from models.registry.packaged import open_registry
    from models.visual_search.load import load_encoder

    with tempfile.TemporaryDirectory() as home:
        encoder = load_encoder(EncoderSettings(threads=1), open_registry(Path(home)))
    embedding = [round(float(value), 5) for value in encoder.encode([gradient()])[0]]
    golden = {"version": encoder.version, "embedding": embedding}
    (Path(__file__).parent / "golden_embedding.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    write_golden_embedding()
