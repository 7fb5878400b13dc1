"""A ChatGPT export: the branch that was kept, what nobody saw, and answers that were regenerated."""

import copy
from typing import Any

import pytest

from llmops_assets.data.formats.conversations import parse_conversation
from llmops_assets.data.formats.preferences import parse_comparisons
from llmops_assets.data.records import Reason, RecordError


def node(identity: str, parent: str | None, role: str, text: str, *children: str, **more: Any) -> dict[str, Any]:
    message = {
        "id": identity,
        "author": {"role": role},
        "content": {"content_type": "text", "parts": [text]},
        "recipient": "all",
        **more,
    }
    return {"id": identity, "message": message, "parent": parent, "children": list(children)}


# The first answer was regenerated twice; the second question was edited; the last answer used a tool.
EXPORT: dict[str, Any] = {
    "title": "Lists",
    "current_node": "a3",
    "mapping": {
        node_["id"]: node_
        for node_ in (
            {"id": "root", "message": None, "parent": None, "children": ["s"]},
            node("s", "root", "system", "", "u1"),
            node("u1", "s", "user", "What is a list?", "a1x", "a1", "a1y"),
            node("a1x", "u1", "assistant", "A thing.", "u2x"),
            node("u2x", "a1x", "user", "Which thing?"),
            node("a1", "u1", "assistant", "A sequence.", "u2old", "u2"),
            node("a1y", "u1", "assistant", "a  sequence."),
            node("u2old", "a1", "user", "And a tuple", "a2old"),
            node("a2old", "u2old", "assistant", "Also a sequence."),
            node("u2", "a1", "user", "And how long is [1]?", "t1"),
            node("t1", "u2", "assistant", "I will count.", "t2"),
            node("t2", "t1", "assistant", "len([1])", "t3", recipient="python"),
            node("t3", "t2", "tool", "1", "a3"),
            node("a3", "t3", "assistant", "One."),
        )
    },
}


def changed(identity: str, **message: Any) -> dict[str, Any]:
    export = copy.deepcopy(EXPORT)
    export["mapping"][identity]["message"] |= message
    return export


def test_the_kept_branch_is_the_conversation() -> None:
    layout, messages = parse_conversation(EXPORT)
    assert layout == "chatgpt"
    assert [(message.role, message.content) for message in messages] == [
        ("user", "What is a list?"),
        ("assistant", "A sequence."),
        ("user", "And how long is [1]?"),
        ("assistant", "I will count.\n\nOne."),
    ]


def test_hidden_messages_are_left_out_and_a_recipient_of_null_is_everybody() -> None:
    hidden = changed("t1", metadata={"is_visually_hidden_from_conversation": True})
    assert parse_conversation(hidden)[1][-1].content == "One."
    assert parse_conversation(changed("a3", recipient=None)) == parse_conversation(EXPORT)


def test_a_question_without_an_answer_is_left_out() -> None:
    _, messages = parse_conversation({**EXPORT, "current_node": "u2x"})
    assert [message.content for message in messages] == ["What is a list?", "A thing."]


def test_regenerated_answers_are_pairs_when_asked_for() -> None:
    [pair] = parse_comparisons(EXPORT, "chatgpt")
    assert [message.content for message in pair.prompt] == ["What is a list?"]
    assert (pair.chosen, pair.rejected, pair.layout) == ("A sequence.", "A thing.", "chatgpt")
    with pytest.raises(RecordError) as caught:
        parse_comparisons(EXPORT)
    assert caught.value.reason == Reason.UNKNOWN_FORMAT


@pytest.mark.parametrize(
    ("value", "reason", "named"),
    [
        ({"mapping": [], "current_node": "a"}, Reason.WRONG_TYPE, "`mapping` is no object"),
        ({**EXPORT, "current_node": None}, Reason.MISSING_FIELD, "`current_node` is None"),
        ({"mapping": {"a": {"parent": "a"}}, "current_node": "a"}, Reason.WRONG_TYPE, "round in a circle at 'a'"),
        (
            changed("u1", content={"content_type": "multimodal_text", "parts": [{"asset_pointer": "x"}, "See?"]}),
            Reason.WRONG_TYPE,
            "`mapping.u1` holds a picture",
        ),
        ({**EXPORT, "current_node": "root"}, Reason.EMPTY, "`mapping` has no turns"),
    ],
)
def test_a_broken_tree_is_refused_with_the_place(value: dict[str, Any], reason: Reason, named: str) -> None:
    for parse in (parse_conversation, lambda value: parse_comparisons(value, "chatgpt")):
        with pytest.raises(RecordError) as caught:
            parse(value)
        if caught.value.reason != Reason.NO_ALTERNATIVE:
            assert caught.value.reason == reason
            assert named in str(caught.value)


def test_a_conversation_in_which_nothing_was_regenerated_prefers_nothing() -> None:
    export = copy.deepcopy(EXPORT)
    export["mapping"]["u1"]["children"] = ["a1"]
    with pytest.raises(RecordError) as caught:
        parse_comparisons(export, "chatgpt")
    assert caught.value.reason == Reason.NO_ALTERNATIVE and not caught.value.reason.is_malformed
