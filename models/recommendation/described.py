"""A platform's videos and people as text cells: the one place that says which of their fields models see.

The names are those of a table that `riverlight train recommendation` reads, so that an encoder means the same by a
column whether it was fitted to a file or to the stream.
"""

import re
from collections.abc import Mapping, Sequence

from core.events import Upload, UserProfile
from models.recommendation.features import FeatureTable, table_of_columns

Cells = dict[str, str]
VIDEO_COLUMNS = ("title", "tags", "category", "language", "creator")
USER_COLUMNS = ("age_band", "gender", "city", "country", "language")
_UNDETERMINED = "und"
_NUMBERS = re.compile(r"\d+(?:\.\d+)?")


def video_cells(upload: Upload) -> Cells:
    """Return an upload as cells; several tags are separated by `|`."""
    return {
        "title": upload.title,
        "tags": "|".join(tag.replace("|", " ") for tag in upload.tags),
        "category": upload.category,
        "language": "" if upload.language == _UNDETERMINED else upload.language,
        "creator": upload.owner_id,
    }


def user_cells(profile: UserProfile) -> Cells:
    """Return a profile as cells; what is not known is empty.

    Beside `USER_COLUMNS` there is `age`, which tables of files have: the middle of the band (29.5 of `25-34`).
    """
    cells = {name: getattr(profile, name) or "" for name in USER_COLUMNS}
    bounds = [float(number) for number in _NUMBERS.findall(profile.age_band or "")][:2]
    return {**cells, "age": f"{sum(bounds) / len(bounds):g}" if bounds else ""}


def described(rows: Mapping[str, Cells], columns: Sequence[str]) -> FeatureTable | None:
    """Return a feature table of described ids; None where nobody is described by anything."""
    if not any(cell for cells in rows.values() for cell in cells.values()):
        return None
    ids = tuple(rows)
    return table_of_columns(ids, {name: [rows[one].get(name, "") for one in ids] for name in columns})
