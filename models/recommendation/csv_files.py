"""Reading anybody's interactions from CSV: every problem is named with its row before anything is trained."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.recommendation.features import FeatureTable, table_of_columns
from models.recommendation.interactions import KINDS, InteractionLog, make_log

REQUIRED = ("user", "item", "value", "timestamp")
_SHOWN = 5  # problems named in a message
_LATEST_S = 253_402_300_799  # the end of the year 9999
_NAN = ("", "nan", "NaN", "NA", "null", "None")


def read_interactions(
    path: Path, *, items: FeatureTable | None = None, users: FeatureTable | None = None
) -> InteractionLog:
    """Read a CSV with the columns user, item, value, timestamp and, if it has one, kind.

    `timestamp` is seconds since 1970 or ISO 8601 (UTC where it names no zone); `kind` is one of `KINDS` (`rating` where
    there is no such column), and `value` may be empty for kinds that have none. Items and users of the tables are part
    of the vocabularies, also without interactions.

    Raises:
        InvalidInput: the file is empty or has wrong rows; the message names the column, the rows and what was expected.
    """
    frame = _read(path, REQUIRED)
    problems: list[str] = []
    for column in ("user", "item"):
        _note(problems, frame.index[frame[column].isin(_NAN)], f"{column} is empty")
    kinds = frame["kind"].str.strip() if "kind" in frame else pd.Series("rating", index=frame.index)
    _note(problems, frame.index[~kinds.isin(KINDS)], f"kind is none of {', '.join(KINDS)}")
    values = pd.to_numeric(frame["value"], errors="coerce").to_numpy(np.float32)
    needs_value = kinds.eq("rating").to_numpy()
    _note(problems, frame.index[needs_value & ~np.isfinite(values)], "value is not a finite number")
    watched = kinds.eq("watch").to_numpy() & np.isfinite(values)
    outside = watched & ((values < 0) | (values > 1))
    _note(problems, frame.index[outside], "value of a watch is the fraction watched, from 0 to 1")
    times = _times(frame["timestamp"])
    _note(
        problems,
        frame.index[~np.isfinite(times)],
        "timestamp is neither seconds since 1970 (not milliseconds) nor an ISO 8601 time",
    )
    _note(problems, frame.index[frame.duplicated(keep="first")], "the same row again")
    if problems:
        raise InvalidInput(f"{path}: " + "; ".join(problems))
    return make_log(
        frame["user"].tolist(),
        frame["item"].tolist(),
        times,
        kinds=kinds.tolist(),
        values=values,
        users=users.ids if users else (),
        items=items.ids if items else (),
    )


def read_table(path: Path, key: str) -> FeatureTable:
    """Read what is known about items (`key` = item) or users (`key` = user): one row an id, any other columns.

    Numbers become numbers, a column `title` becomes words, several values in a cell are separated by `|`, and
    everything else is a category. Empty cells are missing values.
    """
    frame = _read(path, (key,))
    problems: list[str] = []
    _note(problems, frame.index[frame[key].isin(_NAN)], f"{key} is empty")
    _note(problems, frame.index[frame[key].duplicated(keep="first")], f"{key} was described before")
    if len(frame.columns) < 2:
        problems.append(f"there is no column but {key}")
    if problems:
        raise InvalidInput(f"{path}: " + "; ".join(problems))
    columns = {name: ["" if cell in _NAN else cell for cell in frame[name]] for name in frame.columns if name != key}
    return table_of_columns(tuple(frame[key]), columns)


def _read(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except pd.errors.EmptyDataError as error:
        raise InvalidInput(f"{path} is empty; its first line must name the columns {', '.join(required)}") from error
    except (OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise InvalidInput(f"{path} cannot be read as CSV: {error}") from error
    frame.columns = [str(name).strip().lower() for name in frame.columns]
    missing = [name for name in required if name not in frame.columns]
    if missing:
        raise InvalidInput(f"{path} has no column {', '.join(missing)}; it has {', '.join(frame.columns)}")
    if frame.empty:
        raise InvalidInput(f"{path} has a header and no rows")
    frame.index = pd.RangeIndex(2, len(frame) + 2)  # as a text editor counts: line 1 is the header
    return frame


def _times(column: pd.Series) -> NDArray[np.float64]:
    """Return seconds since 1970, NaN where a cell is not a time."""
    seconds = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    text = ~np.isfinite(seconds)
    if text.any():
        parsed = pd.to_datetime(column[text], errors="coerce", utc=True, format="ISO8601")
        micros = parsed.dt.as_unit("us").astype("int64").to_numpy(np.float64)
        seconds = seconds.copy()
        seconds[text] = np.where(parsed.isna(), np.nan, micros / 1e6)
    return np.where((seconds >= 0) & (seconds <= _LATEST_S) & ~_milliseconds(seconds), seconds, np.nan)


def _milliseconds(seconds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark numbers that are a plausible time only as milliseconds: after the year 5138 as seconds."""
    return np.asarray(seconds > 1e11)


def _note(problems: list[str], rows: pd.Index, what: str) -> None:
    if len(rows):
        shown = ", ".join(str(row) for row in rows[:_SHOWN])
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        problems.append(f"row {shown}{more}: {what}")
