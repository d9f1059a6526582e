"""The model card, written from what was measured."""

from models.registry.manifest import Manifest


def render_card(manifest: Manifest) -> str:
    """Return the card as Markdown; every number comes from the manifest."""
    return f"# Model card: {manifest.model} {manifest.version}\n"
