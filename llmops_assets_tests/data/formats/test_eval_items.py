"""Layouts of eval records in the shapes in which public benchmarks come."""

import json
from typing import Any

import pytest

from llmops_assets.data.formats.eval_items import LAYOUTS, EvalItem, parse_eval_item
from llmops_assets.data.records import Message, Reason, RecordError

STUB = 'def add(a, b):\n    """ Add  two numbers.   \n    """\n'
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
ANSWERED = [*TURNS, {"role": "assistant", "content": "So."}]
# Name of the benchmark, its record, its layout, and what the item is to say.
PUBLIC: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    (
        "HumanEval",
        {
            "task_id": "HumanEval/0",
            "prompt": STUB,
            "entry_point": "add",
            "canonical_solution": "    return a + b\n",
            "test": "\n\ndef check(candidate):\n    assert candidate(1, 2) == 3\n",
        },
        "humaneval",
        {
            "id": "HumanEval/0",
            "prompt": STUB,
            "answers": ("    return a + b\n",),
            "tests": "\n\ndef check(candidate):\n    assert candidate(1, 2) == 3\n",
            "entry_point": "add",
        },
    ),
    (
        "HumanEval+",
        {
            "task_id": "HumanEval/0",
            "prompt": STUB,
            "entry_point": "add",
            "canonical_solution": "    return a + b\n",
            "contract": "",
            "base_input": [[1, 2]],
            "plus_input": [[1.5, [2]], []],
            "atol": 1e-06,
        },
        "evalplus",
        {"prompt": STUB, "test_inputs": ([1, 2], [1.5, [2]], []), "tolerance": 1e-06, "tests": ""},
    ),
    (
        "MBPP",
        {
            "task_id": 2,
            "text": "Write a function to add.",
            "code": "def add(a, b):\r\n  return a + b",
            "test_setup_code": "import math",
            "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
            "challenge_test_list": [],
        },
        "mbpp",
        {
            "id": "2",
            "prompt": (Message("user", "Write a function to add."),),
            "answers": ("def add(a, b):\r\n  return a + b",),
            "tests": "import math\nassert add(1, 2) == 3\nassert add(0, 0) == 0",
        },
    ),
    (
        "MBPP sanitized",
        {
            "source_file": "x.ipynb",
            "task_id": 2,
            "prompt": "Write a function to add.",
            "code": "def add(a, b): return a + b",
            "test_imports": ["import math"],
            "test_list": ["assert add(1, 2) == 3"],
        },
        "mbpp_sanitized",
        {"tests": "import math\nassert add(1, 2) == 3", "prompt": (Message("user", "Write a function to add."),)},
    ),
    (
        "MMLU",
        {"question": "Which?", "subject": "x", "choices": ["1", "2", "0", "4"], "answer": 2},
        "choices",
        {"answers": ("0",), "choices": ("1", "2", "0", "4")},
    ),
    ("by letter", {"question": "Which?", "choices": ["a", "b"], "answer": "B"}, "choices", {"answers": ("b",)}),
    (
        "ARC",
        {
            "id": "Mercury_1",
            "question": "Which?",
            "choices": {"text": ["air", "salt"], "label": ["1", "2"]},
            "answerKey": "2",
        },
        "arc",
        {"id": "Mercury_1", "answers": ("salt",), "choices": ("air", "salt")},
    ),
    (
        "ARC with numbers",
        {"question": "Which one?", "choices": {"text": ["sun", "moon"], "label": ["1", "2"]}, "answerKey": 2},
        "arc",
        {"answers": ("moon",), "choices": ("sun", "moon")},
    ),
    (
        "GSM8K",
        {"question": "How many?", "answer": "2 + 2 = <<2+2=4>>4\n#### 4"},
        "question_answer",
        {"answers": ("2 + 2 = <<2+2=4>>4\n#### 4",)},
    ),
    (
        "with a context",
        {"context": "It rains.", "question": "Why?", "answer": ["So.", "Rain."]},
        "question_answer",
        {"prompt": (Message("user", "It rains.\n\nWhy?"),), "answers": ("So.", "Rain.")},
    ),
    (
        "extraction",
        {"document": "Total: 5 EUR", "schema": {"type": "object"}, "answer": {"total": 5}, "class": "invoice"},
        "extraction",
        {"document": "Total: 5 EUR", "schema": {"type": "object"}, "answers": ('{"total": 5}',), "group": "invoice"},
    ),
    ("prompt and completion", {"prompt": "Why?", "completion": "So."}, "prompt_completion", {"answers": ("So.",)}),
    (
        "messages",
        {"messages": ANSWERED, "id": "m1", "group": "g"},
        "messages",
        {
            "id": "m1",
            "group": "g",
            "prompt": (Message("system", "Be brief."), Message("user", "Why?")),
            "answers": ("So.",),
        },
    ),
    ("alpaca", {"instruction": "Why?", "input": "", "output": "So."}, "alpaca", {"answers": ("So.",)}),
    ("text", {"text": "Words."}, "text", {"prompt": "", "answers": ("Words.",)}),
    (
        "of this project",
        {"prompt": TURNS, "answers": ["So.", "Thus."], "tests": "assert True"},
        "items",
        {"answers": ("So.", "Thus."), "tests": "assert True"},
    ),
    ("without an answer", {"prompt": "Go on", "answers": []}, "items", {"prompt": "Go on", "answers": ()}),
]


@pytest.mark.parametrize(("value", "layout", "said"), [case[1:] for case in PUBLIC], ids=[case[0] for case in PUBLIC])
def test_public_layouts_become_items(value: dict[str, Any], layout: str, said: dict[str, Any]) -> None:
    item = parse_eval_item(value)
    assert item.layout == layout
    assert {key: getattr(item, key) for key in said} == said
    assert item.id


@pytest.mark.parametrize("value", [case[1] for case in PUBLIC], ids=[case[0] for case in PUBLIC])
def test_an_item_is_the_same_when_its_row_is_read(value: dict[str, Any]) -> None:
    row = json.loads(json.dumps(parse_eval_item(value).to_row()))
    again = parse_eval_item(row)
    assert again.layout == "items"
    assert {**again.to_row(), "layout": row["layout"]} == row


def test_an_item_without_a_name_is_named_after_what_it_says() -> None:
    one, same, other = (parse_eval_item({"question": q, "answer": "!"}).id for q in ("A?", "A?", "B?"))
    assert one == same != other


def test_what_training_must_not_hold_is_the_prompt_with_each_answer_and_no_system_turn() -> None:
    item = parse_eval_item({"prompt": TURNS, "answers": ["So.", "Thus."], "document": "Rain."})
    assert item.texts() == ["Why?\nRain.\nSo.", "Why?\nRain.\nThus."]
    assert EvalItem(id="", prompt="Go on", answers=(), layout="").texts() == ["Go on"]


@pytest.mark.parametrize(
    ("value", "reason", "said"),
    [
        ({"question": "Which?", "choices": ["a", "b"], "answer": 2}, Reason.WRONG_TYPE, "names none of 2 choices"),
        ({"question": "Which?", "choices": ["a", 1], "answer": 0}, Reason.WRONG_TYPE, "`choices` is no list of texts"),
        ({"question": "", "answer": "x"}, Reason.EMPTY, "`question` is empty"),
        ({"question": "\x01", "answer": "x"}, Reason.EMPTY, "`question` is empty"),
        ({"question": "Why?", "answer": "\x01"}, Reason.EMPTY, "an answer is empty"),
        ({"question": "Why?", "answer": ["So.", " "]}, Reason.EMPTY, "a text of `answer` is empty"),
        ({"document": "d", "schema": {}, "answer": ""}, Reason.EMPTY, "an answer is empty"),
        ({"prompt": "p", "answers": ["\x01"]}, Reason.EMPTY, "an answer is empty"),
        ({"text": "T", "code": "c", "test_list": "assert"}, Reason.WRONG_TYPE, "`test_list` is no list"),
        (
            {"prompt": "p", "completion": "c", "answers": ["a"]},
            Reason.AMBIGUOUS_FORMAT,
            "prompt_completion .* or items",
        ),
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, Reason.UNKNOWN_FORMAT, "a record of an eval set has"),
        ({"document": "d", "schema": "{", "answer": "x"}, Reason.INVALID_JSON, "column 2"),
        ({"prompt": "", "answers": []}, Reason.EMPTY, "neither a prompt nor an answer"),
        ({"prompt": [{"role": "assistant", "content": "x"}], "answers": []}, Reason.BAD_TURN_ORDER, "by assistant"),
        ({"prompt": "p", "answers": ["a"], "tolerance": 10**400}, Reason.WRONG_TYPE, "`tolerance`"),
    ],
)
def test_a_broken_item_is_refused_with_a_reason(value: dict[str, Any], reason: Reason, said: str) -> None:
    with pytest.raises(RecordError, match=said) as caught:
        parse_eval_item(value)
    assert caught.value.reason == reason


def test_a_named_layout_tells_which_key_is_missing() -> None:
    with pytest.raises(RecordError, match="no `test`, which format humaneval needs"):
        parse_eval_item({key: "x" for key in ("prompt", "canonical_solution", "entry_point")}, "humaneval")
    assert set(LAYOUTS) >= {case[2] for case in PUBLIC}
