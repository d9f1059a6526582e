"""There is a word for all that an answer can say of a candidate: in the console, and in answers to "why not?"."""

import re
from importlib.resources import files
from typing import get_args

import pytest

from serving import reranking, why
from serving.recommendation import why as recommendation_why
from serving.recommendation.reranking import Fate

SEARCH = set(get_args(reranking.Reason))
HOMEPAGE = {fate.word for fate in Fate if fate is not Fate.answered}


@pytest.mark.parametrize(("script", "reasons"), [("console.js", SEARCH), ("homepage.js", HOMEPAGE)])
def test_the_console_has_a_word_for_every_reason_and_for_nothing_else(script, reasons):
    text = files("serving.console").joinpath(script).read_text(encoding="utf-8")
    [words] = re.findall(r"const FATES = \{(.*?)\};", text, re.DOTALL)
    assert {name.strip('"') for name in re.findall(r'("[\w-]+"|\b\w+): "', words)} == reasons


def test_there_are_words_for_every_reason_in_answers_to_why_not():
    assert set(why._DETAILS) == SEARCH
    assert set(recommendation_why._DETAILS) == HOMEPAGE
