"""Data for demos, training and tests, installed from package registries into `<home>/data`, never committed."""
