"""Layouts of SFT records in the shapes in which public sets come, and what detection says when it cannot tell."""

from typing import Any

import pytest

from llmops_assets.data.formats.conversations import LAYOUTS, ConversationFormat, parse_conversation
from llmops_assets.data.formats.texts import parse_text
from llmops_assets.data.records import Message, Reason, RecordError

# Name of the public set, its record, the layout, and what is said as (role, content).
PUBLIC: list[tuple[str, dict[str, Any], str, list[tuple[str, str]]]] = [
    (
        "alpaca",
        {"instruction": "Sum up.", "input": "A text.", "output": "Short.", "text": "Below is an instruction ..."},
        "alpaca",
        [("user", "Sum up.\n\nA text."), ("assistant", "Short.")],
    ),
    (
        "alpaca_cleaned",
        {"output": "Three.", "input": "", "instruction": "Count."},
        "alpaca",
        [("user", "Count."), ("assistant", "Three.")],
    ),
    (
        "LLaMA-Factory",
        {"instruction": "Go on.", "output": "C", "system": "Be brief.", "history": [["A?", "B"]]},
        "alpaca",
        [("system", "Be brief."), ("user", "A?"), ("assistant", "B"), ("user", "Go on."), ("assistant", "C")],
    ),
    (
        "dolly",
        {"instruction": "When?", "context": "In 1999.[12] So.", "response": "1999.[3]", "category": "closed_qa"},
        "dolly",
        [("user", "When?\n\nIn 1999. So."), ("assistant", "1999.")],
    ),
    (
        "ultrachat",
        {
            "prompt": "Hi",
            "prompt_id": "0f",
            "messages": [{"content": "Hi", "role": "user"}, {"content": "Yes?", "role": "assistant"}],
        },
        "messages",
        [("user", "Hi"), ("assistant", "Yes?")],
    ),
    (
        "slimorca",
        {
            "conversations": [
                {"from": "system", "value": "Think.", "weight": None},
                {"from": "human", "value": "Why?", "weight": 0},
                {"from": "gpt", "value": "So.", "weight": 1},
            ]
        },
        "sharegpt",
        [("system", "Think."), ("user", "Why?"), ("assistant", "So.")],
    ),
    (
        "prompt and completion",
        {"prompt": "Why?", "completion": "So."},
        "prompt_completion",
        [("user", "Why?"), ("assistant", "So.")],
    ),
    ("a teacher's answers", {"input": "Why?", "teacher_output": "So."}, "kd", [("user", "Why?"), ("assistant", "So.")]),
    (
        "seed tasks of Self-Instruct",
        {"id": "s0", "instruction": "Sum up.", "instances": [{"input": "A text.", "output": "Short."}]},
        "self_instruct",
        [("user", "Sum up.\n\nA text."), ("assistant", "Short.")],
    ),
    (
        "TRL's conversational prompt and completion",
        {
            "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": "Why?"}],
            "completion": [{"role": "assistant", "content": "So."}],
        },
        "prompt_completion",
        [("system", "Think."), ("user", "Why?"), ("assistant", "So.")],
    ),
]


@pytest.mark.parametrize(("value", "layout", "said"), [case[1:] for case in PUBLIC], ids=[case[0] for case in PUBLIC])
def test_public_layouts_are_told_by_their_keys(value: dict[str, Any], layout: str, said: list[tuple[str, str]]) -> None:
    assert parse_conversation(value) == (layout, tuple(Message(role, text) for role, text in said))  # pyright: ignore[reportArgumentType]


def test_every_layout_has_a_public_example() -> None:
    assert {layout for _, _, layout, _ in PUBLIC} == set(LAYOUTS) - {"chatgpt"}, "test_chatgpt.py has that one"


def test_a_record_that_could_be_two_is_refused_with_the_choices_and_read_when_told() -> None:
    both = {"instruction": "Sum up.", "output": "A.", "response": "B."}
    with pytest.raises(RecordError) as caught:
        parse_conversation(both)
    assert caught.value.reason == Reason.AMBIGUOUS_FORMAT
    assert "alpaca (instruction, output) or dolly (instruction, response)" in str(caught.value)
    assert parse_conversation(both, "dolly")[1][-1].content == "B."


def test_footnote_marks_go_only_where_a_context_is_quoted() -> None:
    code = {"instruction": "What is a[0]?", "context": "", "response": "The first of a[10]."}
    assert [message.content for message in parse_conversation(code)[1]] == ["What is a[0]?", "The first of a[10]."]


@pytest.mark.parametrize("record", [case[1] for case in PUBLIC], ids=[case[0] for case in PUBLIC])
def test_system_and_tools_of_a_record_are_read_in_every_layout(record: dict[str, Any]) -> None:
    begins_with_system = "slimorca", "TRL's conversational prompt and completion"
    if any(record is case[1] and case[0] in begins_with_system for case in PUBLIC):
        assert parse_conversation({**record, "system": "Again."}) == parse_conversation(record)
        return
    _, messages = parse_conversation({**record, "system": "Be kind.", "tools": [{"name": "f"}]})
    assert messages[0].role == "system"
    assert messages[0].content.startswith("Be kind.\n\n# Tools") and '"name": "f"' in messages[0].content


def test_columns_that_other_rows_fill_do_not_count() -> None:
    row = {"instruction": "Sum up.", "output": "A.", "messages": None, "response": None}
    assert parse_conversation(row)[0] == "alpaca"


@pytest.mark.parametrize(
    ("value", "layout", "reason", "named"),
    [
        ({"text": "no conversation"}, "auto", Reason.UNKNOWN_FORMAT, "sharegpt: conversations"),
        ({"messages": []}, "sharegpt", Reason.MISSING_FIELD, "no `conversations`"),
        ({"instruction": 3, "output": "x"}, "auto", Reason.WRONG_TYPE, "`instruction` is a int"),
        ({"instruction": "a", "output": "x", "history": [["q"]]}, "auto", Reason.WRONG_TYPE, "`history`"),
        ({"instruction": "a", "output": ""}, "auto", Reason.EMPTY, "instruction + output[1].content"),
        ({"instruction": "a", "instances": [{}, {}]}, "auto", Reason.WRONG_TYPE, "one record for each"),
        ({"instruction": "a", "instances": [{"input": ""}]}, "auto", Reason.MISSING_FIELD, "`output`"),
        ({"prompt": {}, "completion": "x"}, "auto", Reason.WRONG_TYPE, "`prompt` is a dict"),
    ],
)
def test_record_that_breaks_a_rule_is_refused_with_its_key(
    value: dict[str, Any], layout: ConversationFormat, reason: Reason, named: str
) -> None:
    with pytest.raises(RecordError) as caught:
        parse_conversation(value, layout)
    assert caught.value.reason == reason
    assert named in str(caught.value)


def test_text_must_be_a_string_with_text() -> None:
    assert parse_text({"text": "\n  indented\r\n"}) == "  indented"
    for value, reason in (({}, Reason.MISSING_FIELD), ({"text": 3}, Reason.WRONG_TYPE), ({"text": " "}, Reason.EMPTY)):
        with pytest.raises(RecordError) as caught:
            parse_text(value)
        assert caught.value.reason == reason
