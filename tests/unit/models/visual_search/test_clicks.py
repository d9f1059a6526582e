import pytest

from core.errors import InvalidInput
from models.visual_search.clicks import read_clicks


def test_clicks_in_a_file_are_weighted_by_their_position(tmp_path):
    for name in ("q.png", "a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    file = tmp_path / "clicks.csv"
    file.write_text("query,clicked,position\nq.png,a.png,1\nq.png,b.png,3\n")
    (_, first, low), (_, second, high) = read_clicks(file)
    assert (first.name, second.name) == ("a.png", "b.png")
    assert high / low == pytest.approx(3)


def test_a_wrong_click_file_names_the_rows(tmp_path):
    (tmp_path / "q.png").write_bytes(b"x")
    file = tmp_path / "clicks.csv"
    file.write_text("query,clicked,position\nq.png,gone.png,1\nq.png,q.png,0\nq.png,q.png,first\n")
    with pytest.raises(InvalidInput, match=r"row 2.*gone\.png.*row 3.*from 1.*row 4"):
        read_clicks(file)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_clicks(tmp_path / "nowhere.csv")
