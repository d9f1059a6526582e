"""Alembic migrations of the catalogue. `alembic` is not called by hand: `Catalogue.open` runs what is missing."""
