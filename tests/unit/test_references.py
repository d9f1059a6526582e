from pathlib import Path

from infra import references

ROOT = Path(__file__).parents[2]


def test_the_reference_pages_say_what_the_code_says():
    assert references.stale_pages(ROOT) == [], "run: riverlight docs"


def test_writing_pages_twice_changes_nothing_the_second_time(tmp_path):
    assert set(references.write_pages(tmp_path)) == set(references.pages())
    assert references.write_pages(tmp_path) == []
    (tmp_path / "docs/reference/topics.md").write_text("edited by hand")
    assert references.stale_pages(tmp_path) == ["docs/reference/topics.md"]


def test_the_readme_leads_to_every_how_to_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = sorted(path.name for path in (ROOT / "docs" / "how-to").glob("*.md"))
    assert pages
    assert [name for name in pages if f"(docs/how-to/{name})" not in readme] == []
