"""Layouts of eval records, told apart by their keys: what a model is asked, and what a right answer is.

A new layout is a function here and a line in `LAYOUTS`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from llmops_assets.data.formats.conversations import LAYOUTS as CONVERSATION_LAYOUTS
from llmops_assets.data.formats.conversations import parse_conversation
from llmops_assets.data.formats.detection import detect
from llmops_assets.data.formats.eval_fields import (
    Record,
    asked,
    dialogue_of,
    identity_of,
    inputs_of,
    optional_text_of,
    schema_of,
    text_of,
    texts_of,
    tolerance_of,
)
from llmops_assets.data.formats.texts import optional_name, parse_text
from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.records import Message, Reason, RecordError, row_hash

EvalFormat = Literal[
    "auto",
    "messages",
    "sharegpt",
    "prompt_completion",
    "alpaca",
    "dolly",
    "kd",
    "self_instruct",
    "chatgpt",
    "items",
    "humaneval",
    "evalplus",
    "mbpp",
    "mbpp_sanitized",
    "choices",
    "arc",
    "question_answer",
    "extraction",
    "text",
]


@dataclass(frozen=True, slots=True)
class EvalItem:
    """One thing that a model is measured on.

    `prompt` is a dialogue that ends with the user, or a text to go on from, letter by letter; it is empty where the
    text in `answers` is scored by itself, for perplexity. Any of `answers` is right. Code has `tests`, a program that
    fails for a wrong answer, or `test_inputs`, lists of arguments on which an answer must return what the reference
    returns, within `tolerance`. `choices` are the options of a question. `schema` is the JSON Schema of an answer that
    is read off `document`. `group` is a class or a topic to average over.
    """

    id: str
    prompt: tuple[Message, ...] | str
    answers: tuple[str, ...]
    layout: str
    group: str = ""
    source: str = ""
    origin: str = ""
    tests: str = ""
    entry_point: str = ""
    test_inputs: tuple[Any, ...] = ()
    tolerance: float = 0.0
    choices: tuple[str, ...] = ()
    document: str = ""
    schema: Mapping[str, Any] | None = None

    def to_row(self) -> dict[str, Any]:
        """Return the item as a row of items.jsonl, without what it lacks; `items` is the layout that reads it back."""
        prompt = self.prompt if isinstance(self.prompt, str) else [message.to_row() for message in self.prompt]
        row: dict[str, Any] = {"id": self.id, "prompt": prompt, "answers": list(self.answers)}
        for key in _OPTIONAL:
            if value := getattr(self, key):
                row[key] = list(value) if isinstance(value, tuple) else value
        return row

    def texts(self) -> list[str]:
        """Return what a training set must not hold: the prompt with each answer, system turns left out."""
        turns = (
            [self.prompt] if isinstance(self.prompt, str) else [m.content for m in self.prompt if m.role != "system"]
        )
        asked = [part for part in (*turns, self.document) if part]
        return ["\n".join([*asked, answer]) for answer in self.answers] or ["\n".join(asked)]


_OPTIONAL = (
    *("tests", "entry_point", "test_inputs", "tolerance", "choices", "document", "schema"),
    *("group", "layout", "source", "origin"),
)


@dataclass(frozen=True)
class Layout:
    """One way to write an eval item: a record that has all keys of `needs` may be one."""

    needs: tuple[str, ...]
    parse: Callable[[Record], EvalItem]


def parse_eval_item(value: Record, layout: EvalFormat = "auto") -> EvalItem:
    """Return the eval item that a record holds, with its `id` or `task_id`, or else a hash of what it says.

    `auto` takes the one layout whose keys the record has. Raises RecordError if there is none or more than one, or if
    the record breaks the rules of its layout.
    """
    needs = {name: each.needs for name, each in LAYOUTS.items()}
    name = detect(value, needs, what="record of an eval set") if layout == "auto" else layout
    for key in LAYOUTS[name].needs:
        if value.get(key) is None:
            raise RecordError(Reason.MISSING_FIELD, f"no `{key}`, which format {name} needs; keys are {sorted(value)}")
    item = LAYOUTS[name].parse(value)
    if not any(text.strip() for text in item.texts()):
        raise RecordError(Reason.EMPTY, "the item has neither a prompt nor an answer")
    if not all(normalize_text(answer).strip() for answer in item.answers):
        raise RecordError(Reason.EMPTY, "an answer is empty; write one, or leave the item out")
    group = optional_name(value, "group") or optional_name(value, "class") or ""
    return replace(item, id=identity_of(value) or row_hash(item.to_row())[:16], layout=name, group=group)


def _conversation(name: Any) -> Callable[[Record], EvalItem]:
    """Return the parser of a layout of conversations, whose last answer is the reference."""

    def parse(value: Record) -> EvalItem:
        _, messages = parse_conversation(value, name)
        return _item(messages[:-1], (messages[-1].content,))

    return parse


def _items(value: Record) -> EvalItem:
    """Rows of items.jsonl, and sets that are written for this project."""
    prompt = value["prompt"]
    return EvalItem(
        id="",
        prompt=prompt if isinstance(prompt, str) else dialogue_of(prompt),
        answers=texts_of(value, "answers"),
        layout="",
        tests=optional_text_of(value, "tests"),
        entry_point=optional_text_of(value, "entry_point"),
        test_inputs=tuple(inputs_of(value, "test_inputs")),
        tolerance=tolerance_of(value, "tolerance"),
        choices=texts_of(value, "choices"),
        document=optional_text_of(value, "document"),
        schema=schema_of(value),
    )


def _humaneval(value: Record) -> EvalItem:
    """HumanEval (Chen et al. 2021, arXiv 2107.03374): a function to complete, and a `check` of it."""
    item = _item(text_of(value, "prompt"), (text_of(value, "canonical_solution"),))
    return replace(item, tests=text_of(value, "test"), entry_point=text_of(value, "entry_point"))


def _evalplus(value: Record) -> EvalItem:
    """EvalPlus' own files (Liu et al. 2023, arXiv 2305.01210): inputs on which to agree with the reference."""
    return replace(
        _item(text_of(value, "prompt"), (text_of(value, "canonical_solution"),)),
        entry_point=text_of(value, "entry_point"),
        test_inputs=(*inputs_of(value, "base_input"), *inputs_of(value, "plus_input")),
        tolerance=tolerance_of(value, "atol"),
    )


def _mbpp(question_key: str) -> Callable[[Record], EvalItem]:
    """Return the parser of MBPP (Austin et al. 2021, arXiv 2108.07732): a task in words, and assertions."""

    def parse(value: Record) -> EvalItem:
        imports = value.get("test_imports") or []
        setup = optional_text_of(value, "test_setup_code")
        if not isinstance(imports, list) or not all(isinstance(line, str) for line in imports):
            raise RecordError(Reason.WRONG_TYPE, "`test_imports` is no list of texts")
        asserted = texts_of(value, "test_list")
        # MBPP+ has a program of more tests beside the original list.
        program = optional_text_of(value, "test") or "\n".join([*imports, *([setup] if setup else []), *asserted])
        return replace(_item(asked(value, question_key), (text_of(value, "code"),)), tests=program)

    return parse


def _choices(value: Record) -> EvalItem:
    """MMLU and its like: options in a list, and the right one by number, letter or text."""
    choices = texts_of(value, "choices")
    return _chosen(value, choices, [chr(ord("A") + index) for index in range(len(choices))], value["answer"])


def _arc(value: Record) -> EvalItem:
    """ARC (Clark et al. 2018, arXiv 1803.05457): options with labels of their own."""
    options = value["choices"]
    if not isinstance(options, Mapping):
        raise RecordError(Reason.WRONG_TYPE, "`choices` is no object with `text` and `label`")
    choices, labels = texts_of(options, "text"), texts_of(options, "label")
    if len(choices) != len(labels):
        raise RecordError(Reason.WRONG_TYPE, f"`choices` has {len(choices)} texts and {len(labels)} labels")
    # Labels may be numbers, and an index counts from 0.
    key = value["answerKey"]
    return _chosen(value, choices, list(labels), str(key) if type(key) is int else key)


def _chosen(value: Record, choices: tuple[str, ...], labels: list[str], answer: object) -> EvalItem:
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        index = answer
    elif isinstance(answer, str) and answer in labels:
        index = labels.index(answer)
    elif isinstance(answer, str) and answer in choices:
        index = choices.index(answer)
    else:
        raise RecordError(
            Reason.WRONG_TYPE, f"the answer is {answer!r}, which names none of {len(choices)} choices ({labels})"
        )
    return replace(_item(asked(value, "question"), (choices[index],)), choices=choices)


def _question_answer(value: Record) -> EvalItem:
    """GSM8K and its like; `context` stands above the question."""
    answer = value["answer"]
    answers = (
        texts_of(value, "answer") if isinstance(answer, list) else (normalize_text(text_of(value, "answer")).strip(),)
    )
    return _item(asked(value, "question", above=optional_text_of(value, "context")), answers)


def _extraction(value: Record) -> EvalItem:
    """A document, the JSON Schema of what it says, and that as an object or a text."""
    answer = value["answer"]
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    prompt = normalize_text(optional_text_of(value, "prompt")).strip()
    turns = (Message("user", prompt),) if prompt else ""
    return replace(_item(turns, (text,)), document=text_of(value, "document"), schema=schema_of(value))


def _plain(value: Record) -> EvalItem:
    return _item("", (parse_text(value),))


LAYOUTS: dict[str, Layout] = {
    **{name: Layout(layout.needs, _conversation(name)) for name, layout in CONVERSATION_LAYOUTS.items()},
    "items": Layout(("prompt", "answers"), _items),
    "humaneval": Layout(("prompt", "canonical_solution", "entry_point", "test"), _humaneval),
    "evalplus": Layout(("prompt", "canonical_solution", "entry_point", "base_input", "plus_input"), _evalplus),
    "mbpp": Layout(("text", "code", "test_list"), _mbpp("text")),
    "mbpp_sanitized": Layout(("prompt", "code", "test_list"), _mbpp("prompt")),
    "choices": Layout(("question", "choices", "answer"), _choices),
    "arc": Layout(("question", "choices", "answerKey"), _arc),
    "question_answer": Layout(("question", "answer"), _question_answer),
    "extraction": Layout(("document", "schema", "answer"), _extraction),
    "text": Layout(("text",), _plain),
}


def _item(prompt: tuple[Message, ...] | str, answers: tuple[str, ...]) -> EvalItem:
    """Return an item whose names are still to come."""
    return EvalItem(id="", prompt=prompt, answers=answers, layout="")
