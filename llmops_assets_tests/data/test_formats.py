from typing import Any

import pytest

from llmops_assets.data.formats import parse_conversation, parse_text
from llmops_assets.data.records import Message, Reason, RecordError

USER = {"role": "user", "content": "Hello?"}
ASSISTANT = {"role": "assistant", "content": "Hello."}
SYSTEM = {"role": "system", "content": "Be brief."}


def test_multi_turn_conversation_with_a_system_turn_is_read() -> None:
    messages = parse_conversation({"messages": [SYSTEM, USER, ASSISTANT, USER, ASSISTANT], "id": "x"})
    assert [message.role for message in messages] == ["system", "user", "assistant", "user", "assistant"]
    assert messages[1] == Message("user", "Hello?")


@pytest.mark.parametrize(
    ("value", "reason", "named"),
    [
        ({"messages": []}, Reason.EMPTY, "messages"),
        ({"messages": "hi"}, Reason.WRONG_TYPE, "messages"),
        ({"messages": ["hi"]}, Reason.WRONG_TYPE, "messages[0]"),
        ({"messages": [{"role": "user"}]}, Reason.MISSING_FIELD, "content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, Reason.INVALID_ROLE, "'tool'"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, Reason.INVALID_ROLE, "messages[0].role"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, Reason.WRONG_TYPE, "messages[1].content"),
        ({"messages": [USER, {"role": "assistant", "content": " \n"}]}, Reason.EMPTY, "messages[1].content"),
        ({"messages": [USER]}, Reason.BAD_TURN_ORDER, "ends with user"),
        ({"messages": [SYSTEM]}, Reason.BAD_TURN_ORDER, "ends with system"),
        ({"messages": [ASSISTANT]}, Reason.BAD_TURN_ORDER, "messages[0]"),
        ({"messages": [USER, USER, ASSISTANT]}, Reason.BAD_TURN_ORDER, "messages[1]"),
        ({"messages": [USER, SYSTEM, ASSISTANT]}, Reason.BAD_TURN_ORDER, "messages[1]"),
        ({"text": "no conversation"}, Reason.UNKNOWN_FORMAT, "`messages`"),
    ],
)
def test_conversation_that_breaks_a_rule_is_refused_with_the_place(
    value: dict[str, Any], reason: Reason, named: str
) -> None:
    with pytest.raises(RecordError) as caught:
        parse_conversation(value)
    assert caught.value.reason == reason
    assert named in str(caught.value)


def test_text_must_be_a_string_with_text() -> None:
    assert parse_text({"text": "\n  indented\r\n"}) == "  indented"
    for value, reason in (({}, Reason.MISSING_FIELD), ({"text": 3}, Reason.WRONG_TYPE), ({"text": " "}, Reason.EMPTY)):
        with pytest.raises(RecordError) as caught:
            parse_text(value)
        assert caught.value.reason == reason
