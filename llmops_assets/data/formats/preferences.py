"""Layouts of preference records, told apart by their keys: a prompt, the answer preferred and the one that was not.

A new layout is a function here and a line in `LAYOUTS`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from llmops_assets.data.formats.chatgpt import regenerated
from llmops_assets.data.formats.detection import detect
from llmops_assets.data.formats.transcripts import turns_of_transcript
from llmops_assets.data.formats.turns import messages_of, with_system
from llmops_assets.data.normalize import comparison_key
from llmops_assets.data.records import Message, Reason, RecordError

Record = Mapping[str, Any]
Dialogues = tuple[tuple[Message, ...], tuple[Message, ...]]
PreferenceFormat = Literal[
    "auto", "prompt", "sharegpt", "messages", "question", "alpaca", "transcripts", "arena", "chatgpt"
]
# Of ultrafeedback, as HuggingFaceH4 and as argilla publish it.
_SCORES = (("score_chosen", "score_rejected"), ("chosen-rating", "rejected-rating"))
_WINNERS = {"model_a": ("conversation_a", "conversation_b"), "model_b": ("conversation_b", "conversation_a")}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A prompt that ends with the user, and the text of two answers; `layout` is the format that it was read in.

    `margin` is the score of the chosen answer less that of the other, where the record has scores. `number` counts the
    comparisons of one record, from 0.
    """

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    layout: str
    margin: float | None = None
    number: int = 0


@dataclass(frozen=True)
class Layout:
    """One way to write a comparison: a record that has all keys of `needs` may be one.

    `parse` returns the dialogue that was preferred and the other one, each ending with its answer; once for most
    layouts. One that is not `told` must be named, for its keys promise no preference.
    """

    needs: tuple[str, ...]
    parse: Callable[[Record], Iterable[Dialogues]]
    told: bool = True


def parse_comparisons(value: Record, layout: PreferenceFormat = "auto") -> list[Comparison]:
    """Return what a preference record says: one comparison, or several of a tree of answers.

    `auto` takes the one layout whose keys the record has; whole dialogues in `chosen` and `rejected` need no other
    key. Raises RecordError if there is none or more than one, if the record breaks the rules of its layout, or if it
    prefers nothing: scores tie or say the opposite, answers are the same, or belong to different prompts.
    """
    name = layout if layout != "auto" else _detected(value)
    for key in LAYOUTS[name].needs:
        if value.get(key) is None:
            raise RecordError(Reason.MISSING_FIELD, f"no `{key}`, which format {name} needs; keys are {sorted(value)}")
    margin = _score_margin(value)
    found = (_comparison(chosen, rejected, name, margin) for chosen, rejected in LAYOUTS[name].parse(value))
    return [replace(comparison, number=number) for number, comparison in enumerate(found)]


def _comparison(
    chosen: tuple[Message, ...], rejected: tuple[Message, ...], layout: str, margin: float | None
) -> Comparison:
    if not (chosen[-1].trained and rejected[-1].trained):
        raise RecordError(Reason.WRONG_TYPE, "an answer that is compared has `weight` 0, which keeps loss off it")
    if chosen[:-1] != rejected[:-1]:
        raise RecordError(Reason.DIFFERENT_PROMPTS, "the two answers do not follow the same prompt")
    if comparison_key(chosen[-1].content) == comparison_key(rejected[-1].content):
        raise RecordError(Reason.SAME_ANSWERS, "chosen and rejected say the same")
    return Comparison(chosen[:-1], chosen[-1].content, rejected[-1].content, layout, margin)


def _detected(value: Record) -> str:
    if all(isinstance(value.get(key), list) and len(value[key]) > 1 for key in ("chosen", "rejected")):
        return "transcripts"
    return detect(value, {name: each.needs for name, each in LAYOUTS.items() if each.told}, what="preference")


def _after(prompt_key: str) -> Callable[[Record], Iterable[Dialogues]]:
    """Return the parser of records whose prompt, a text or turns, stands under `prompt_key`."""

    def parse(value: Record) -> list[Dialogues]:
        prompt = _prompt(value, prompt_key)
        return [(_answered(value, prompt, prompt_key, "chosen"), _answered(value, prompt, prompt_key, "rejected"))]

    return parse


def _prompt(value: Record, key: str) -> list[Any]:
    prompt = value[key]
    if key == "instruction" and isinstance(value.get("input"), str) and value["input"].strip():
        prompt = f"{prompt}\n\n{value['input']}"
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, list):
        raise RecordError(Reason.WRONG_TYPE, f"`{key}` is a {type(prompt).__name__}, neither a string nor turns")
    return list(with_system(value, prompt))


def _answered(value: Record, prompt: list[Any], prompt_key: str, side: str) -> tuple[Message, ...]:
    answer = value[side]
    if isinstance(answer, str):
        answer = {"role": "assistant", "content": answer}
    answers = answer if isinstance(answer, list) else [answer]
    if len(answers) != 1:
        raise RecordError(Reason.WRONG_TYPE, f"`{side}` has {len(answers)} turns; it is one answer to `{prompt_key}`")
    return messages_of([*prompt, *answers], key=f"{prompt_key} + {side}", tools=value.get("tools"))


def _transcripts(value: Record) -> list[Dialogues]:
    return [(_dialogue(value, "chosen"), _dialogue(value, "rejected"))]


def _dialogue(value: Record, side: str) -> tuple[Message, ...]:
    given = value[side]
    turns = turns_of_transcript(given, side) if isinstance(given, str) else given
    return messages_of(with_system(value, turns), key=side, tools=value.get("tools"))


def _arena(value: Record) -> list[Dialogues]:
    """Exports of Chatbot Arena: two dialogues and who won."""
    winner = value["winner"]
    tied = isinstance(winner, str) and winner.startswith(("tie", "both"))
    if not isinstance(winner, str) or (winner not in _WINNERS and not tied):
        raise RecordError(Reason.WRONG_TYPE, f"`winner` is {winner!r}; known are model_a, model_b and tie")
    if tied:
        raise RecordError(Reason.TIE, f"`winner` is {winner!r}")
    chosen, rejected = _WINNERS[winner]
    return [(_dialogue(value, chosen), _dialogue(value, rejected))]


def _chatgpt(value: Record) -> Iterator[Dialogues]:
    """Regenerated answers: the one that was kept over each that was given up."""
    found = False
    for prompt, kept, other in regenerated(value):
        found = True
        answers = ([*prompt, {"role": "assistant", "content": answer}] for answer in (kept, other))
        chosen, rejected = (messages_of(turns, key="mapping") for turns in answers)
        yield chosen, rejected
    if not found:
        raise RecordError(Reason.NO_ALTERNATIVE, "no answer of the conversation was regenerated")


def _score_margin(value: Record) -> float | None:
    for better, worse in _SCORES:
        high, low = value.get(better), value.get(worse)
        if not isinstance(high, int | float) or not isinstance(low, int | float):
            continue
        if any(isinstance(score, float) and not math.isfinite(score) for score in (high, low)):
            raise RecordError(Reason.NOT_FINITE, f"`{better}` is {high} and `{worse}` is {low}; both must be finite")
        if high == low:
            raise RecordError(Reason.TIE, f"`{better}` and `{worse}` are both {high}")
        if high < low:
            raise RecordError(Reason.SCORES_DISAGREE, f"`{better}` is {high}, less than `{worse}` = {low}")
        return high - low
    return None


LAYOUTS: dict[str, Layout] = {
    "prompt": Layout(("prompt", "chosen", "rejected"), _after("prompt")),
    "sharegpt": Layout(("conversations", "chosen", "rejected"), _after("conversations")),
    "messages": Layout(("messages", "chosen", "rejected"), _after("messages")),
    "question": Layout(("question", "chosen", "rejected"), _after("question")),
    "alpaca": Layout(("instruction", "chosen", "rejected"), _after("instruction")),
    "transcripts": Layout(("chosen", "rejected"), _transcripts),
    "arena": Layout(("conversation_a", "conversation_b", "winner"), _arena),
    "chatgpt": Layout(("mapping",), _chatgpt, told=False),
}
