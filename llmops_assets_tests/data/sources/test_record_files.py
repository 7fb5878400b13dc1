"""Files of records: every container gives the same records with their place, and a broken file is an error."""

import datetime
import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from llmops_assets.data.jsonl import JsonLine
from llmops_assets.data.records import QuarantinedRecord, Reason
from llmops_assets.data.sources.record_files import UnreadableFileError, read_records

ROWS = [{"text": "Ünïcode]"}, {"text": "two\nlines", "n": [1, {"a": None}]}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def read(path: Path) -> list[JsonLine | QuarantinedRecord]:
    return list(read_records(path, source="s", origin_file=path.name))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_lines_lists_and_values_in_a_row_hold_the_same(tmp_path: Path) -> None:
    contents = {
        "lines.jsonl": LINES,
        "lines.ndjson": LINES,
        "lines.json": LINES,
        "list.json": json.dumps(ROWS),
        "pretty.json": "\ufeff" + json.dumps(ROWS, indent=2, ensure_ascii=False),
        "values.json": "\n\n".join(json.dumps(row, indent=1) for row in ROWS),
    }
    for name, content in contents.items():
        records = read(write(tmp_path / name, content))
        assert [record.value for record in records if isinstance(record, JsonLine)] == ROWS, name


def test_place_is_the_line_that_a_record_begins_in(tmp_path: Path) -> None:
    pretty = read(write(tmp_path / "a.json", "[\n" + json.dumps(ROWS[1], indent=1) + ",\n\n" + "{}\n]\n"))
    assert [record.line for record in pretty] == [2, 12]


def test_packed_files_are_unpacked(tmp_path: Path) -> None:
    with pyarrow.output_stream(str(tmp_path / "a.jsonl.zst"), compression="zstd") as stream:
        stream.write(LINES.encode())
    write(tmp_path / "a.jsonl.gz", gzip.compress(LINES.encode()))
    write(tmp_path / "a.JSON.gz", gzip.compress(json.dumps(ROWS).encode()))
    for name in ("a.jsonl.zst", "a.jsonl.gz", "a.JSON.gz"):
        assert [record.value for record in read(tmp_path / name) if isinstance(record, JsonLine)] == ROWS


def test_parquet_rows_are_numbered(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["a", "b"], "score": [1.0, float("nan")]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    good, bad = read(tmp_path / "a.parquet")
    assert good == JsonLine(1, {"text": "a", "score": 1.0})
    assert isinstance(bad, QuarantinedRecord) and (bad.line, bad.reason) == (2, Reason.NOT_FINITE)


def test_columns_of_one_name_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    column = pyarrow.array(["a"])
    table = pyarrow.Table.from_arrays([column, column, column], names=["id", "text", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UnreadableFileError, match=r"a\.parquet: several columns have the name 'text'; rename or drop"):
        read(tmp_path / "a.parquet")


def test_values_that_json_lacks_are_texts_or_quarantined_with_their_column(tmp_path: Path) -> None:
    day, broken = datetime.date(2026, 1, 2), pyarrow.array([b"\xff", b"ok"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": broken, "day": [day, day]}), tmp_path / "a.parquet")
    bad, good = read(tmp_path / "a.parquet")
    assert good == JsonLine(2, {"text": "ok", "day": "2026-01-02"})
    assert isinstance(bad, QuarantinedRecord) and (bad.line, bad.reason) == (1, Reason.WRONG_TYPE)
    pyarrow.parquet.write_table(pyarrow.table({"text": [b"\xff"]}), tmp_path / "b.parquet")
    [record] = read(tmp_path / "b.parquet")
    assert isinstance(record, QuarantinedRecord) and "column 'text': holds bytes" in record.detail


def test_a_number_of_thousands_of_digits_is_quarantined(tmp_path: Path) -> None:
    for name in ("a.json", "a.jsonl"):
        [record] = read(write(tmp_path / name, '{"a": ' + "1" * 5000 + "}"))
        assert isinstance(record, QuarantinedRecord) and record.reason == Reason.NOT_FINITE


def test_broken_records_of_a_list_are_quarantined_and_the_others_read(tmp_path: Path) -> None:
    content = '[{"a": 1},\n "text",\n {"a": 1, "a": 2},\n {"a": NaN}, {"b": 2}]'
    first, text, twice, nan, last = read(write(tmp_path / "a.json", content))
    assert isinstance(first, JsonLine) and isinstance(last, JsonLine)
    places = [(r.line, r.reason) for r in (text, twice, nan) if isinstance(r, QuarantinedRecord)]
    assert places == [(2, Reason.NOT_AN_OBJECT), (3, Reason.DUPLICATE_KEY), (4, Reason.NOT_FINITE)]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b'[{"a": 1},\n{"a": ', r"a\.json:2: is no JSON"),
        ("a.json", b'[{"a": 1}\n{"a": 2}]', r"a\.json:2: the list breaks off or lacks a comma"),
        ("a.json", b'[{"a": 1},\n', r"a\.json:2: the list has no end"),
        ("a.json", b'[{"a": 1},\n]', r"a\.json:2: the list ends with a comma"),
        ("a.json", b'[{"a": 1}]\n{}', r"a\.json:2: something follows the list"),
        ("a.json", b'[{"a": "\xff"}]', r"a\.json:1: byte 8 is not UTF-8"),
        ("a.json", b"[" * 100_000, r"a\.json:1: nested too deeply"),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-9], r"a\.jsonl\.gz: cannot be read to its end"),
        ("a.jsonl.gz", b"no gzip", r"a\.jsonl\.gz: cannot be read to its end"),
        ("a.jsonl.zst", b"no zstd", r"a\.jsonl\.zst: cannot be read to its end"),
        ("a.parquet", b"no parquet", r"a\.parquet: is no Parquet file"),
    ],
)
def test_a_file_that_breaks_off_is_an_error_and_no_shorter_file(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(UnreadableFileError, match=said):
        read(write(tmp_path / name, content))


def test_an_empty_file_holds_no_record(tmp_path: Path) -> None:
    assert [read(write(tmp_path / name, b"")) for name in ("a.json", "a.jsonl")] == [[], []]
    assert read(write(tmp_path / "b.json", " []\n")) == []
