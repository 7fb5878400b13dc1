"""Turns as messages: both naming conventions, tools as text, weights, and the place of each mistake."""

from typing import Any

import pytest

from llmops_assets.data.formats.turns import messages_of
from llmops_assets.data.records import Message, Reason, RecordError

USER = {"role": "user", "content": "Hello?"}
ASSISTANT = {"role": "assistant", "content": "Hello."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'}
RESULT = {"from": "observation", "value": "[1]"}


def test_multi_turn_conversation_with_a_system_turn_is_read() -> None:
    messages = messages_of([SYSTEM, USER, ASSISTANT, USER, ASSISTANT])
    assert [message.role for message in messages] == ["system", "user", "assistant", "user", "assistant"]
    assert messages[1] == Message("user", "Hello?")


def test_sharegpt_names_say_the_same() -> None:
    turns = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Hello?"},
        {"from": "gpt", "value": "Hello."},
    ]
    assert messages_of(turns) == messages_of([SYSTEM, USER, ASSISTANT])


def test_tools_calls_and_results_become_text_in_three_roles() -> None:
    tools = '[{"name": "add", "parameters": {}}]'
    messages = messages_of([SYSTEM, USER, CALL, RESULT, ASSISTANT], tools=tools)
    assert [message.role for message in messages] == ["system", "user", "assistant", "user", "assistant"]
    function = '{"type": "function", "function": {"name": "add", "parameters": {}}}'
    assert messages[0].content.startswith("Be brief.\n\n# Tools\n") and f"<tools>\n{function}\n" in messages[0].content
    assert messages[2].content == '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    assert messages[3].content == "<tool_response>\n[1]\n</tool_response>"


def test_openai_calls_in_a_row_are_one_turn_and_so_are_their_results() -> None:
    call = {"type": "function", "id": "1", "function": {"name": "add", "arguments": '{"a": 1}'}}
    calling = {"role": "assistant", "content": None, "tool_calls": [call, call]}
    result = {"role": "tool", "tool_call_id": "1", "content": "1"}
    messages = messages_of([USER, calling, result, result, ASSISTANT])
    assert messages_of([USER, CALL, CALL, RESULT, ASSISTANT])[1] == messages[1]
    assert messages[1].content.count("<tool_call>") == messages[2].content.count("<tool_response>") == 2


def test_what_is_said_before_a_call_is_in_its_turn() -> None:
    messages = messages_of([USER, ASSISTANT, CALL])
    assert len(messages) == 2 and messages[1].content.startswith("Hello.\n<tool_call>")


def test_text_parts_are_joined_and_pictures_refused() -> None:
    parts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": "?"}]
    assert messages_of([{"role": "user", "content": parts}, ASSISTANT])[0].content == "Hello?"
    with pytest.raises(RecordError, match=r"messages\[0\].content\[1\].*image_url"):
        messages_of([{"role": "user", "content": [parts[0], {"type": "image_url"}]}, ASSISTANT])


def test_weight_zero_keeps_loss_off_an_answer_and_means_nothing_on_a_question() -> None:
    turns = [USER | {"weight": 0}, ASSISTANT | {"weight": 0}, USER, ASSISTANT | {"weight": 1}]
    messages = messages_of(turns)
    assert [message.trained for message in messages] == [True, False, True, True]
    assert messages[1].to_row() == {"role": "assistant", "content": "Hello.", "weight": 0}
    assert "weight" not in messages[3].to_row()
    with pytest.raises(RecordError, match="every assistant turn"):
        messages_of(turns[:2])


@pytest.mark.parametrize(
    ("value", "reason", "named"),
    [
        ([], Reason.EMPTY, "messages"),
        ("hi", Reason.WRONG_TYPE, "messages"),
        (["hi"], Reason.WRONG_TYPE, "messages[0]"),
        ([{"role": "user"}], Reason.MISSING_FIELD, "content"),
        ([{"from": "human"}], Reason.MISSING_FIELD, "value"),
        ([{"role": "critic", "content": "x"}], Reason.INVALID_ROLE, "'critic'"),
        ([{"role": ["user"], "content": "x"}], Reason.INVALID_ROLE, "messages[0].role"),
        ([USER, {"role": "assistant", "content": None}], Reason.MISSING_FIELD, "`messages[1]` has no `content`"),
        ([USER, {"role": "assistant", "content": " \n"}], Reason.EMPTY, "messages[1].content"),
        ([USER], Reason.BAD_TURN_ORDER, "ends with user"),
        ([SYSTEM], Reason.BAD_TURN_ORDER, "ends with system"),
        ([ASSISTANT], Reason.BAD_TURN_ORDER, "messages[0]"),
        ([USER, USER, ASSISTANT], Reason.BAD_TURN_ORDER, "messages[1]"),
        ([USER, SYSTEM, ASSISTANT], Reason.BAD_TURN_ORDER, "messages[1]"),
        ([RESULT, CALL], Reason.BAD_TURN_ORDER, "a call that was not made"),
        ([USER, ASSISTANT, RESULT, ASSISTANT], Reason.BAD_TURN_ORDER, "messages[2]"),
        ([USER, {"from": "function_call", "value": "add(1)"}], Reason.INVALID_TOOL_CALL, "messages[1].value"),
        ([USER, {"from": "function_call", "value": "1" * 5000}], Reason.INVALID_TOOL_CALL, "messages[1].value"),
        ([USER, {"from": "function_call", "value": '{"name": "\\ud800"}'}], Reason.INVALID_TOOL_CALL, "surrogate"),
        ([USER, {"from": "function_call", "value": '{"name": NaN}'}], Reason.INVALID_TOOL_CALL, "NaN"),
        ([USER, {"from": "function_call", "value": "[]"}], Reason.INVALID_TOOL_CALL, "no call"),
        ([USER, {"from": "function_call", "value": '{"arguments": {}}'}], Reason.INVALID_TOOL_CALL, "`name`"),
        (
            [USER, {"from": "function_call", "value": '{"name": "f", "arguments": [1]}'}],
            Reason.INVALID_TOOL_CALL,
            "arguments",
        ),
        ([USER, ASSISTANT | {"weight": 2}], Reason.WRONG_TYPE, "messages[1].weight"),
    ],
)
def test_conversation_that_breaks_a_rule_is_refused_with_the_place(value: Any, reason: Reason, named: str) -> None:
    with pytest.raises(RecordError) as caught:
        messages_of(value)
    assert caught.value.reason == reason
    assert named in str(caught.value)


def test_keys_with_null_count_as_absent_in_turns_and_calls() -> None:
    human = {"from": "human", "value": "Hi", "role": None, "content": None}
    call = {"from": "function_call", "value": '{"name": "now", "arguments": null, "parameters": {"zone": "UTC"}}'}
    messages = messages_of([human, call])
    assert messages[0] == Message("user", "Hi")
    assert '"arguments": {"zone": "UTC"}' in messages[1].content


@pytest.mark.parametrize(("tools", "named"), [("[{]", "no JSON"), ({"a": 1}, "not a list"), ([{}], "tools[0]")])
def test_tools_that_are_no_functions_are_refused(tools: object, named: str) -> None:
    with pytest.raises(RecordError) as caught:
        messages_of([USER, ASSISTANT], tools=tools)
    assert named in str(caught.value)
