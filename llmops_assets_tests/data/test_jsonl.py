import stat
from pathlib import Path

import pytest

from llmops_assets.data.jsonl import LONGEST_LINE, JsonLine, parse_json_object, read_json_lines, write_jsonl
from llmops_assets.data.records import QuarantinedRecord, Reason, RecordError


def read(path: Path, longest_line: int = LONGEST_LINE) -> list[JsonLine | QuarantinedRecord]:
    with path.open("rb") as stream:
        return list(read_json_lines(stream, source="s", origin_file="rows.jsonl", longest_line=longest_line))


def test_broken_lines_are_quarantined_with_file_line_and_reason_and_good_ones_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"text": "first, after a byte-order mark"}\r\n'
        b'{"text": "cut off\n'
        b"\n"
        b'{"text": "latin-1: \xe9"}\n'
        b'{"text": "a", "text": "b"}\n'
        b'{"text": NaN}\n'
        b'["not an object"]\n'
        b'{"text": "last, without a newline"}'
    )

    entries = read(path)

    good = [entry for entry in entries if isinstance(entry, JsonLine)]
    assert [(entry.line, entry.value["text"]) for entry in good] == [
        (1, "first, after a byte-order mark"),
        (8, "last, without a newline"),
    ]
    bad = [entry for entry in entries if isinstance(entry, QuarantinedRecord)]
    assert [(entry.origin_file, entry.line, entry.reason) for entry in bad] == [
        ("rows.jsonl", 2, Reason.INVALID_JSON),
        ("rows.jsonl", 4, Reason.INVALID_UTF8),
        ("rows.jsonl", 5, Reason.DUPLICATE_KEY),
        ("rows.jsonl", 6, Reason.NOT_FINITE),
        ("rows.jsonl", 7, Reason.NOT_AN_OBJECT),
    ]
    assert "'text'" in bad[2].detail
    assert bad[1].excerpt == '{"text": "latin-1: \\xe9"}'


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"x": 1e999}', Reason.NOT_FINITE),
        (b'{"x": -Infinity}', Reason.NOT_FINITE),
        (b'{"x": ' + b"9" * 5000 + b"}", Reason.NOT_FINITE),
        (b'{"x": "\\ud800"}', Reason.INVALID_UNICODE),
        (b'{"x": {"y": 1, "y": 2}}', Reason.DUPLICATE_KEY),
        (b'{"x": ' + b"[" * 100_000 + b"}", Reason.INVALID_JSON),
        (b'{"x": 1} {"y": 2}', Reason.INVALID_JSON),
    ],
)
def test_what_json_would_let_pass_is_refused(raw: bytes, reason: Reason) -> None:
    with pytest.raises(RecordError) as caught:
        parse_json_object(raw)
    assert caught.value.reason == reason


def test_line_above_the_cap_is_quarantined_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "' + "x" * 500 + '"}\n{"text": "next"}\n', encoding="utf-8")

    entries = read(path, 100)

    assert isinstance(entries[0], QuarantinedRecord) and entries[0].reason == Reason.TOO_LARGE
    assert entries[1] == JsonLine(2, {"text": "next"})


def test_line_as_long_as_the_cap_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"x": "abc"}\n{"x": "abc"}')
    entries = read(path, 12)
    assert [type(entry) for entry in entries] == [JsonLine, JsonLine]


def test_writing_keeps_letters_and_key_order_and_is_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "rows.jsonl"
    assert write_jsonl(path, [{"b": "Ångström 漢字 🙂", "a": 1}]) == 1
    assert path.read_bytes() == '{"b": "Ångström 漢字 🙂", "a": 1}\n'.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"a": 1}])

    with pytest.raises(TypeError):
        write_jsonl(path, [{"a": 2}, {"a": object()}])

    assert path.read_text() == '{"a": 1}\n'
    assert list(tmp_path.iterdir()) == [path]
