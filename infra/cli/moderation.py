"""`riverlight moderation`: harmful content."""

import typer

from infra.cli import (
    moderation_hashes,
    moderation_history,
    moderation_labels,
    moderation_measures,
    moderation_policy,
    moderation_republish,
)

app = typer.Typer(no_args_is_help=True, help="Harmful content: what the policy says, and what is known to be harmful.")
app.add_typer(moderation_policy.app, name="policy")
app.add_typer(moderation_hashes.app, name="hashes")
moderation_history.register(app)
moderation_measures.register(app)
moderation_republish.register(app)
moderation_labels.register(app)
