"""Whatever a record holds, it is read or refused with a reason; nothing crashes and nothing gets lost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_assets.data.formats.conversations import parse_conversation
from llmops_assets.data.formats.eval_items import parse_eval_item
from llmops_assets.data.formats.preferences import parse_comparisons
from llmops_assets.data.formats.texts import parse_text
from llmops_assets.data.formats.thumbs import parse_thumb
from llmops_assets.data.inspection import KINDS, Kind, read_uniform
from llmops_assets.data.records import Reason, RecordError
from llmops_assets_tests.data.formats.mutations import mutated
from llmops_assets_tests.data.formats.test_chatgpt import EXPORT
from llmops_assets_tests.data.formats.test_conversations import PUBLIC as CONVERSATIONS
from llmops_assets_tests.data.formats.test_eval_items import PUBLIC as EVAL_ITEMS
from llmops_assets_tests.data.formats.test_preferences import PUBLIC as COMPARISONS

CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOLS = {
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "1"},
        {"role": "assistant", "content": "So.", "weight": 1},
    ],
}
CASES: list[tuple[str, Callable[[dict[str, Any]], object], dict[str, Any]]] = [
    *((f"sft: {name}", parse_conversation, record) for name, record, *_ in CONVERSATIONS),
    ("sft: tools", parse_conversation, TOOLS),
    *((f"preferences: {name}", parse_comparisons, record) for name, record, _ in COMPARISONS),
    ("sft: ChatGPT", parse_conversation, EXPORT),
    ("preferences: ChatGPT", lambda value: parse_comparisons(value, "chatgpt"), EXPORT),
    ("thumbs", parse_thumb, {**CONVERSATIONS[0][1], "label": True}),
    *((f"eval: {name}", parse_eval_item, record) for name, record, *_ in EVAL_ITEMS),
    ("corpus", parse_text, {"text": "Words."}),
]


def reasons(parse: Callable[[dict[str, Any]], object], record: dict[str, Any], count: int) -> dict[Reason | None, int]:
    """Parse `count` mutated records; return how many ended how, None for those that were read."""
    ended: dict[Reason | None, int] = {}
    for value in mutated(record, count):
        try:
            parse(value)
            reason = None
        except RecordError as error:
            assert str(error)
            reason = error.reason
        ended[reason] = ended.get(reason, 0) + 1
    return ended


@pytest.mark.parametrize(("parse", "record"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_thousand_mutated_records_are_read_or_refused(
    parse: Callable[[dict[str, Any]], object], record: dict[str, Any]
) -> None:
    ended = reasons(parse, record, 1000)
    # Both outcomes must occur, or the mutations would be too small or too large to test anything.
    assert 0 < ended.get(None, 0) < 1000 and len(ended) >= 3


@pytest.mark.slow
@pytest.mark.parametrize(("parse", "record"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_hundred_thousand_mutated_records_are_read_or_refused(
    parse: Callable[[dict[str, Any]], object], record: dict[str, Any]
) -> None:
    assert sum(reasons(parse, record, 100_000).values()) == 100_000


@pytest.mark.parametrize("kind", KINDS)
def test_every_record_of_a_file_is_a_row_or_a_problem_with_its_line(tmp_path: Path, kind: Kind) -> None:
    lines = [json.dumps(value) for _, _, record in CASES for value in mutated(record, 20)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    report, rows = read_uniform(tmp_path / "a.jsonl", kind)
    read = list(rows)
    assert len(read) == len(lines) == report.layouts.total() + len(report.problems)
    assert all(0 < problem.line <= len(lines) and problem.reason and problem.detail for problem in report.problems)
