"""Which release of Riverlight this is."""

from importlib import metadata


def release() -> str:
    """Return the installed release, or `unreleased` where the code runs from a checkout that was not installed."""
    try:
        return metadata.version("riverlight")
    except metadata.PackageNotFoundError:
        return "unreleased"
