"""Layouts of SFT records, told apart by their keys.

A new layout is a function here and a line in `LAYOUTS`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmops_assets.data.formats.chatgpt import kept_turns
from llmops_assets.data.formats.detection import detect
from llmops_assets.data.formats.turns import messages_of, with_system
from llmops_assets.data.records import Message, Reason, RecordError

Record = Mapping[str, Any]
ConversationFormat = Literal[
    "auto", "messages", "sharegpt", "prompt_completion", "alpaca", "dolly", "kd", "self_instruct", "chatgpt"
]
# Wikipedia's marks of footnotes.
_CITATION = re.compile(r"\[\d{1,3}\]")


@dataclass(frozen=True)
class Layout:
    """One way to write a conversation: a record that has all keys of `needs` may be one."""

    needs: tuple[str, ...]
    parse: Callable[[Record], tuple[Message, ...]]


def parse_conversation(value: Record, layout: ConversationFormat = "auto") -> tuple[str, tuple[Message, ...]]:
    """Return the name of the record's layout and its messages, as `messages_of` gives them.

    `auto` takes the one layout whose keys the record has. Raises RecordError if there is none or more than one, or if
    the record breaks the rules of its layout.
    """
    needs = {name: each.needs for name, each in LAYOUTS.items()}
    name = detect(value, needs, what="conversation") if layout == "auto" else layout
    for key in LAYOUTS[name].needs:
        if value.get(key) is None:
            raise RecordError(Reason.MISSING_FIELD, f"no `{key}`, which format {name} needs; keys are {sorted(value)}")
    return name, LAYOUTS[name].parse(value)


def _messages(value: Record) -> tuple[Message, ...]:
    return messages_of(with_system(value, value["messages"]), key="messages", tools=value.get("tools"))


def _sharegpt(value: Record) -> tuple[Message, ...]:
    return messages_of(with_system(value, value["conversations"]), key="conversations", tools=value.get("tools"))


def _prompt_completion(value: Record) -> tuple[Message, ...]:
    """Texts, or lists of turns as in TRL's conversational format."""
    turns = [
        *_as_turns(value["prompt"], "prompt", "user"),
        *_as_turns(value["completion"], "completion", "assistant"),
    ]
    return messages_of(with_system(value, turns), key="prompt + completion", tools=value.get("tools"))


def _alpaca(value: Record) -> tuple[Message, ...]:
    """Stanford Alpaca, with LLaMA-Factory's `system` and `history`; the `text` of some copies says the same again."""
    history = value.get("history") or []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise RecordError(Reason.WRONG_TYPE, "`history` is no list of [question, answer]")
    turns = [{"role": role, "content": text} for pair in history for role, text in zip(_SIDES, pair, strict=True)]
    turns.append({"role": "user", "content": _question(value, "input")})
    turns.append({"role": "assistant", "content": value["output"]})
    key = "history + instruction + output"
    return messages_of(with_system(value, turns), key=key, tools=value.get("tools"))


def _dolly(value: Record) -> tuple[Message, ...]:
    """Databricks' dolly. Where there is a context, it and the answer are quoted with the marks of its footnotes."""
    question, answer = _question(value, "context"), value["response"]
    if value.get("context"):
        question, answer = (_CITATION.sub("", text) if isinstance(text, str) else text for text in (question, answer))
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages_of(with_system(value, turns), key="instruction + response", tools=value.get("tools"))


def _kd(value: Record) -> tuple[Message, ...]:
    """Answers that a teacher has written, for distillation by sequence."""
    turns = [
        {"role": "user", "content": value["input"]},
        {"role": "assistant", "content": value["teacher_output"]},
    ]
    return messages_of(with_system(value, turns), key="input + teacher_output", tools=value.get("tools"))


def _self_instruct(value: Record) -> tuple[Message, ...]:
    """A seed task of Self-Instruct (Wang et al. 2022, arXiv 2212.10560): an instruction and one instance of it."""
    instances = value["instances"]
    if not isinstance(instances, list) or not all(isinstance(instance, Mapping) for instance in instances):
        raise RecordError(Reason.WRONG_TYPE, "`instances` is no list of objects")
    if len(instances) != 1:
        raise RecordError(Reason.WRONG_TYPE, f"`instances` has {len(instances)}; write one record for each")
    if "output" not in instances[0]:
        raise RecordError(Reason.MISSING_FIELD, "`instances[0]` has no `output`")
    return _alpaca({**value, **instances[0]})


_SIDES = ("user", "assistant")
LAYOUTS: dict[str, Layout] = {
    "messages": Layout(("messages",), _messages),
    "sharegpt": Layout(("conversations",), _sharegpt),
    "prompt_completion": Layout(("prompt", "completion"), _prompt_completion),
    "alpaca": Layout(("instruction", "output"), _alpaca),
    "dolly": Layout(("instruction", "response"), _dolly),
    "kd": Layout(("input", "teacher_output"), _kd),
    "self_instruct": Layout(("instruction", "instances"), _self_instruct),
    "chatgpt": Layout(("mapping",), lambda value: messages_of(kept_turns(value), key="mapping")),
}


def _question(value: Record, more: str) -> str:
    """Return the instruction and, below it, what it is about."""
    parts = [value["instruction"], value.get(more) or ""]
    for key, part in zip(("instruction", more), parts, strict=True):
        if not isinstance(part, str):
            raise RecordError(Reason.WRONG_TYPE, f"`{key}` is a {type(part).__name__}, not a string")
    return "\n\n".join(part for part in parts if part.strip())


def _as_turns(value: object, key: str, role: str) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise RecordError(Reason.WRONG_TYPE, f"`{key}` is a {type(value).__name__}, neither a string nor turns")
    return [{"role": role, "content": value}]
