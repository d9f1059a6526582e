"""The model card, written from what was measured."""

from models.registry.manifest import Manifest
from models.visual_search.evaluate import Evaluation
from models.visual_search.report import evaluation_markdown

_CARD = """# Model card: {model} {version}

An image encoder for visual search: a picture in, a point on the unit sphere in {dim} dimensions out; pictures of the
same thing lie close together (cosine similarity).

| | |
| --- | --- |
| network | EfficientNet-Lite0 (ImageNet weights, Apache-2.0) and a linear projection; {input_px}-pixel input |
| trained | the last {tune_blocks} of 16 blocks, from {parent} |
| kept | {blend:.0%} tuned, the rest pretrained weights; the projection is half-whitened principal components |
| on | {pairs} pairs of {images} images of {concepts} concepts: {sources} |
| licence of the drawings | {licences} (they are not part of the weights' files) |
| loss | symmetric InfoNCE over in-batch negatives, temperature {temperature}, batches of {batch_size} |
| stopped | best of {epochs} epochs by validation MRR: {best_epoch} ({start_mrr:.3f} before, {final_mrr:.3f} as saved) |
| made by | `{command}`, seed {seed}, code {code_version}, {created} |

## Intended use

Finding pictures of the same thing on a content platform, also when they were drawn by another hand. It ranks; it does
not recognise persons, and must not be used to.

## Measured

Tested concepts were never trained on, in any style; variants of a concept (skin tone, gender, direction) are in one
split. The tasks named `new-style` and `stamps` use styles of which no image was trained on. Means with 95 % bootstrap
intervals over queries. Settings were chosen on the validation split, with two exceptions: the blend with the pretrained
weights was chosen with a look at the `stamps` tasks, and early trials (128 px, batch size and temperature) showed test
figures too, though validation favoured the same choice. Read all figures as a little optimistic. Baselines: `frozen`
(the network before training, 160 px), whitened on training images, and at 224 px.

{tables}
## Weaknesses

- Trained on small drawings on white. On photographs expect what the `stamps` tasks show, not what the emoji tasks show;
  where a task's gain lies below zero, the frozen network is the better choice for pictures like that.
- It looks at shape and colour; it does not read text, count things, or tell flags apart that differ in a detail.
- No mirrored pictures were trained on: mirrored copies are found by likeness only.
- A cosine similarity is not a probability. Choose a cut-off from your own data (`riverlight evaluate visual-search
  --judgements`), and again after each training: another version is another space.
- Drawings come from two vendors and share their conventions, such as which objects exist and how people are shown.
"""


def render_card(manifest: Manifest, evaluation: Evaluation) -> str:
    """Return the card as Markdown; every number comes from the manifest or the evaluation."""
    history = manifest.metrics["history"]
    best_epoch = manifest.metrics["best_epoch"]
    return _CARD.format(
        **{
            key: manifest.settings[key]
            for key in ("dim", "input_px", "tune_blocks", "temperature", "batch_size", "blend")
        },
        **{key: manifest.data[key] for key in ("pairs", "images", "concepts")},
        sources="; ".join(manifest.data["sources"].values()),
        licences="; ".join(manifest.data["licences"].values()),
        epochs=len(history),
        best_epoch=best_epoch,
        start_mrr=manifest.metrics["start_validation_mrr"],
        final_mrr=manifest.metrics["final_validation_mrr"],
        model=manifest.model,
        version=manifest.version,
        parent=manifest.parent,
        command=manifest.command,
        seed=manifest.seed,
        code_version=manifest.code_version,
        created=manifest.created,
        tables=evaluation_markdown(evaluation),
    )
