from datetime import UTC, datetime

import numpy as np
import pytest

from core.errors import InvalidInput
from models.recommendation.csv_files import read_interactions, read_table
from models.recommendation.interactions import KINDS, EventRow, log_of_events, make_log


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_becomes_columns_in_the_order_of_time(tmp_path):
    path = written(
        tmp_path / "a.csv", "user,item,value,timestamp\nb,x,4,200\na,y,3.5,100\nb,y,1,2026-01-01T00:00:00Z\n"
    )
    log = read_interactions(path)
    assert [log.users[place] for place in log.user] == ["a", "b", "b"]
    assert [log.items[place] for place in log.item] == ["y", "x", "y"]
    assert log.value.tolist() == [3.5, 4.0, 1.0]
    assert log.time.tolist() == [100.0, 200.0, datetime(2026, 1, 1, tzinfo=UTC).timestamp()]


def test_a_log_cannot_be_changed():
    log = make_log(["a"], ["x"], np.asarray([1.0]))
    with pytest.raises(ValueError, match="read-only"):
        log.value[0] = 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("user,item,value,timestamp\n", "no rows"),
        ("user,item,value\na,x,4\n", "no column timestamp"),
        ("user,item,value,timestamp\na,x,4,1\n,x,4,2\n", "row 3: user is empty"),
        ("user,item,value,timestamp\na,NaN,4,1\n", "row 2: item is empty"),
        ("user,item,value,timestamp\na,x,nan,1\na,y,,1\n", "row 2, 3: value is not a finite number"),
        ("user,item,value,timestamp\na,x,inf,1\n", "value is not a finite number"),
        ("user,item,value,timestamp\na,x,4,yesterday\n", "row 2: timestamp"),
        ("user,item,value,timestamp\na,x,4,1760000000000\n", "not milliseconds"),
        ("user,item,value,timestamp\na,x,4,-5\n", "row 2: timestamp"),
        ("user,item,value,timestamp\na,x,4,1\na,x,4,1\n", "row 3: the same row again"),
        ("user,item,value,timestamp,kind\na,x,4,1,kiss\n", "kind is none of"),
        ("user,item,value,timestamp,kind\na,x,40,1,watch\n", "fraction watched"),
        ("user,item,value,timestamp\na,x\n", "value is not a finite number"),
    ],
)
def test_a_wrong_file_is_refused_with_its_rows(tmp_path, text, message):
    with pytest.raises(InvalidInput, match=message):
        read_interactions(written(tmp_path / "a.csv", text))


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_interactions(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01" * 20)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_interactions(tmp_path / "b.csv")


def test_many_problems_are_counted_not_listed(tmp_path):
    rows = "".join(f"a,x{row},bad,{row}\n" for row in range(50))
    with pytest.raises(InvalidInput, match="row 2, 3, 4, 5, 6 and 45 more"):
        read_interactions(written(tmp_path / "a.csv", "user,item,value,timestamp\n" + rows))


def test_described_items_are_in_the_vocabulary_without_interactions(tmp_path):
    items = read_table(written(tmp_path / "i.csv", "item,tags,year\nx,a|b,1999\nz,b,\n"), "item")
    log = read_interactions(written(tmp_path / "a.csv", "user,item,value,timestamp\na,y,4,1\n"), items=items)
    assert log.items == ("x", "z", "y")
    assert items.encoder.columns == ("year", "year missing", "tags=b", "tags=a")
    assert items.aligned(log.items).tolist() == [[0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_a_table_that_describes_an_item_twice_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="row 3: item was described before"):
        read_table(written(tmp_path / "i.csv", "item,tags\nx,a\nx,b\n"), "item")


def test_features_of_a_new_item_are_encoded_as_in_training(tmp_path):
    items = read_table(written(tmp_path / "i.csv", "item,tags,year\nx,a,1990\ny,b,2010\n"), "item")
    encoded = items.encoder.encode([{"year": "2010", "tags": "b|new"}, {"year": "9999"}, {}])
    assert encoded[0].tolist() == items.dense[1].tolist()
    assert encoded[1].tolist() == [3.0, 0, 0, 0]
    assert encoded[2].tolist() == [0.0, 1, 0, 0]


def test_our_own_events_become_a_log_without_searches_and_follows():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        EventRow("riverlight.interaction.watch", "a", "x", at, watched_s=30, of_s=40),
        EventRow("watch", "a", "y", at, watched_s=30),
        EventRow("search", "a", "", at),
        EventRow("follow", "a", "b", at),
        EventRow("like", "b", "x", at),
    ]
    log, left_out = log_of_events(rows)
    assert left_out == 2
    assert [KINDS[code] for code in log.kind] == ["watch", "watch", "like"]
    assert log.value[0] == 0.75 and np.isnan(log.value[1])
