"""Whatever the bytes of a file are, it is read, or it is refused with a sentence; no line of it gets lost."""

import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmops_assets.data.jsonl import JsonLine, read_json_lines
from llmops_assets.data.records import Document, QuarantinedRecord
from llmops_assets.data.sources.record_files import UnreadableFileError, read_records
from llmops_assets.data.sources.specs import TextFilesSource
from llmops_assets.data.sources.text_files import read_text_file
from llmops_assets_tests.data.sources.test_web_pages import FRAGMENTS, PAGE

CODE = '# -*- coding: utf-8 -*-\n"""A module."""\n\n\ndef ü(x: int) -> int:\n\treturn x + 1  # eins\r\n'
MARKDOWN = "# Title\n\nWords of *some* text: \U0001f389 \u6f22\u5b57.\n\n```python\nprint(1)\n```\n"
RECORDS = [{"text": f"Words {n} of a text \u00fc.", "n": n, "tags": ["a", None], "more": {"x": 1.5}} for n in range(4)]
LINE = json.dumps(RECORDS[0], ensure_ascii=False).encode()
_PIECES = [
    *FRAGMENTS,
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\u",
    b"NaN",
    b"1e999",
]
TEXTS = {"a.html": PAGE.encode(), "a.py": CODE.encode(), "a.md": MARKDOWN.encode()}
FEW, MANY = pytest.param(300), pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(2400)])


def broken(content: bytes, count: int, seed: int = 7) -> Iterator[bytes]:
    """Yield `count` copies of `content`, each with one to four runs of bytes replaced; the same for one seed."""
    chance = random.Random(seed)
    for _ in range(count):
        raw = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(raw) + 1)
            piece = chance.choice(_PIECES) if chance.random() < 0.7 else chance.randbytes(chance.randint(1, 4))
            raw[at : at + chance.choice([0, 1, 1, 2, 8, 40])] = piece
        yield bytes(raw)


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(RECORDS), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize("name", TEXTS)
def test_a_file_of_text_is_one_document_or_one_entry_of_the_quarantine(tmp_path: Path, name: str, count: int) -> None:
    source, path = TextFilesSource(name="texts", pattern=name), tmp_path / name
    ended: Counter[str] = Counter()
    for raw in broken(TEXTS[name], count):
        path.write_bytes(raw)
        [found] = read_text_file(path, name, source)
        if isinstance(found, QuarantinedRecord):
            assert found.detail and 0 < found.line <= raw.count(b"\n") + 1
        else:
            assert isinstance(found, Document) and found.text.strip() and found.text.encode()
        ended[found.reason if isinstance(found, QuarantinedRecord) else "read"] += 1
    assert 0 < ended["read"] < count == ended.total()


@pytest.mark.parametrize("count", [FEW, MANY])
def test_every_line_that_is_not_blank_is_a_record_or_an_entry_of_the_quarantine(count: int) -> None:
    lines = [raw.replace(b"\n", b" ") for raw in broken(LINE, count)]
    found = list(read_json_lines(io.BytesIO(b"\n".join(lines)), source="lines", origin_file="a.jsonl"))
    assert [entry.line for entry in found] == [number for number, line in enumerate(lines, 1) if line.strip()]
    refused = [entry for entry in found if isinstance(entry, QuarantinedRecord)]
    assert 0 < len(refused) < len(found) and all(entry.reason and entry.detail for entry in refused)


@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize("name", ["a.json", "a.parquet"])
def test_a_file_of_records_is_read_or_refused_by_its_name(tmp_path: Path, name: str, count: int) -> None:
    content = parquet() if name == "a.parquet" else json.dumps(RECORDS, indent=1, ensure_ascii=False).encode()
    path = tmp_path / name
    ended: Counter[str] = Counter()
    for raw in broken(content, count):
        path.write_bytes(raw)
        try:
            found = list(read_records(path, source="records", origin_file=name))
            assert all(isinstance(entry, JsonLine) or entry.detail for entry in found)
            ended["read"] += 1
        except UnreadableFileError as error:
            assert str(path) in str(error)
            ended["refused"] += 1
    assert min(ended["read"], ended["refused"]) > 0
