from types import SimpleNamespace

import pytest

from core.errors import Unavailable
from infra.demo.moderation import check_scored, scored_by


def decided(*versions: str) -> list[SimpleNamespace]:
    return [SimpleNamespace(model_version=version) for version in versions]


def test_a_demo_whose_moderator_has_no_model_ends_with_what_to_do_about_it():
    with pytest.raises(Unavailable, match=r"none of 2 posts was scored.*riverlight models promote"):
        check_scored(decided("", ""))


def test_the_model_is_named_though_the_first_post_was_not_scored():
    found = decided("", "moderation/one", "moderation/one")
    check_scored(found)
    assert scored_by(found) == ["moderation/one"]
