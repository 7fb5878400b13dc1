"""Layouts of preference records in the shapes in which public sets come, and what is no preference."""

from typing import Any

import pytest

from llmops_assets.data.formats.preferences import LAYOUTS, parse_comparisons
from llmops_assets.data.records import Reason, RecordError


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


GOOD = [turn("user", "Why?"), turn("assistant", "Good.")]
BAD = [turn("user", "Why?"), turn("assistant", "Bad.")]
# Name of the public set, its record, and the layout; all say the same.
PUBLIC: list[tuple[str, dict[str, Any], str]] = [
    (
        "LLaMA-Factory, sharegpt",
        {
            "conversations": [{"from": "human", "value": "Why?"}],
            "chosen": {"from": "gpt", "value": "Good."},
            "rejected": {"from": "gpt", "value": "Bad."},
        },
        "sharegpt",
    ),
    ("messages", {"messages": GOOD[:1], "chosen": GOOD[1], "rejected": [BAD[1]]}, "messages"),
    (
        "ultrafeedback, argilla",
        {"source": "x", "prompt": "Why?", "chosen": GOOD, "chosen-rating": 5.0, "rejected": BAD, "rejected-rating": 3},
        "transcripts",
    ),
    (
        "ultrafeedback, HuggingFaceH4",
        {
            "prompt": "Why?",
            "prompt_id": "0f",
            "chosen": GOOD,
            "rejected": BAD,
            "messages": GOOD,
            "score_chosen": 8.5,
            "score_rejected": 6.0,
        },
        "transcripts",
    ),
    (
        "hh_rlhf",
        {"chosen": "\n\nHuman: Why?\n\nAssistant: Good.", "rejected": "\n\nHuman: Why?\n\nAssistant: Bad."},
        "transcripts",
    ),
    ("orca_dpo", {"system": "", "question": "Why?", "chosen": "Good.", "rejected": "Bad."}, "question"),
    ("prompt, chosen, rejected", {"prompt": "Why?", "chosen": "Good.", "rejected": "Bad."}, "prompt"),
    ("LLaMA-Factory, alpaca", {"instruction": "Why?", "input": "", "chosen": "Good.", "rejected": "Bad."}, "alpaca"),
    ("Chatbot Arena", {"conversation_a": BAD, "conversation_b": GOOD, "winner": "model_b"}, "arena"),
]


@pytest.mark.parametrize(("value", "layout"), [case[1:] for case in PUBLIC], ids=[case[0] for case in PUBLIC])
def test_public_layouts_say_what_was_preferred(value: dict[str, Any], layout: str) -> None:
    [found] = parse_comparisons(value)
    assert [message.to_row() for message in found.prompt] == [turn("user", "Why?")]
    assert (found.chosen, found.rejected, found.layout) == ("Good.", "Bad.", layout)


def test_every_layout_has_a_public_example() -> None:
    assert {layout for _, _, layout in PUBLIC} == set(LAYOUTS) - {"chatgpt"}, "test_chatgpt.py has that one"


def test_a_transcript_keeps_all_turns_before_the_answer() -> None:
    before = "\n\nHuman: A?\n\nAssistant: One: two.\n\nwith a gap\n\nHuman: B?\n\nAssistant:"
    [found] = parse_comparisons({"chosen": f"{before} Good.", "rejected": f"{before} Bad."})
    assert [message.content for message in found.prompt] == ["A?", "One: two.\n\nwith a gap", "B?"]


@pytest.mark.parametrize("value", [case[1] for case in PUBLIC], ids=[case[0] for case in PUBLIC])
def test_system_and_tools_of_a_record_open_the_prompt_in_every_layout(value: dict[str, Any]) -> None:
    [found] = parse_comparisons({**value, "system": "Think.", "tools": [{"name": "f"}]})
    assert [message.role for message in found.prompt] == ["system", "user"]
    assert found.prompt[0].content.startswith("Think.\n\n# Tools")


PAIR = {"prompt": "Why?", "chosen": "Good.", "rejected": "Bad."}


@pytest.mark.parametrize(
    ("value", "reason", "named"),
    [
        ({**PAIR, "score_chosen": 7, "score_rejected": 7}, Reason.TIE, "both 7"),
        ({**PAIR, "chosen-rating": 3, "rejected-rating": 4}, Reason.SCORES_DISAGREE, "less than"),
        ({**PAIR, "rejected": " good. "}, Reason.SAME_ANSWERS, "same"),
        ({**PAIR, "conversations": []}, Reason.AMBIGUOUS_FORMAT, "prompt (prompt, chosen, rejected) or sharegpt"),
        ({"prompt": "Why?", "chosen": "Good."}, Reason.UNKNOWN_FORMAT, "transcripts: chosen, rejected"),
        ({**PAIR, "chosen": ""}, Reason.EMPTY, "prompt + chosen[1]"),
        ({**PAIR, "chosen": [], "rejected": []}, Reason.WRONG_TYPE, "`chosen` has 0 turns"),
        ({**PAIR, "prompt": 3}, Reason.WRONG_TYPE, "`prompt` is a int"),
        (
            {"chosen": GOOD, "rejected": [turn("user", "How?"), BAD[1]]},
            Reason.DIFFERENT_PROMPTS,
            "do not follow the same prompt",
        ),
        ({"chosen": "Good.", "rejected": "Bad."}, Reason.UNKNOWN_FORMAT, "Human:"),
        (
            {"chosen": "\n\nHuman: A?\n\nAssistant:", "rejected": "\n\nHuman: A?\n\nAssistant: B"},
            Reason.EMPTY,
            "chosen[1]",
        ),
        ({"conversation_a": BAD, "conversation_b": GOOD, "winner": "tie (bothbad)"}, Reason.TIE, "bothbad"),
        ({"conversation_a": BAD, "conversation_b": GOOD, "winner": "both_bad"}, Reason.TIE, "both_bad"),
        (
            {"chosen": [GOOD[0], GOOD[1] | {"weight": 1}], "rejected": [BAD[0], {**BAD[1], "weight": 0}]},
            Reason.EMPTY,
            "every assistant turn of `rejected` has weight 0",
        ),
        ({"conversation_a": BAD, "conversation_b": GOOD, "winner": 2}, Reason.WRONG_TYPE, "`winner`"),
    ],
)
def test_what_is_no_preference_is_refused_with_the_reason(value: dict[str, Any], reason: Reason, named: str) -> None:
    with pytest.raises(RecordError) as caught:
        parse_comparisons(value)
    assert caught.value.reason == reason
    assert named in str(caught.value)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_finite_number_is_refused(score: float) -> None:
    record = {"prompt": "Why?", "chosen": "Good.", "rejected": "Bad.", "score_chosen": score, "score_rejected": 1}
    with pytest.raises(RecordError, match="score_chosen") as refused:
        parse_comparisons(record)
    assert refused.value.reason is Reason.NOT_FINITE
