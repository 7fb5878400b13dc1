"""Turns of a conversation, as OpenAI (`role`, `content`) or ShareGPT (`from`, `value`) name them, as messages."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from llmops_assets.data.formats.tool_calls import calls_text, response_text, tools_text
from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.records import Message, Reason, RecordError, Role

_Speaker = Literal["system", "user", "assistant", "call", "response"]
# Both conventions, and the names that exports of chat services use for the assistant.
SPEAKERS: dict[str, _Speaker] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model"), "assistant"),
    "function_call": "call",
    **dict.fromkeys(("tool", "observation", "function"), "response"),
}
_ROLE_OF: dict[_Speaker, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "call": "assistant",
    "response": "user",
}
_NAMES = (("role", "content"), ("from", "value"))


@dataclass(frozen=True, slots=True)
class _Turn:
    speaker: _Speaker
    content: str
    trained: bool
    where: str


def messages_of(value: object, *, key: str = "messages", tools: object = None) -> tuple[Message, ...]:
    """Return the messages of a list of turns: an optional system turn, then user and assistant by turns.

    Contents are normalized. Tools, calls and their results become text (see `tool_calls`): `tools` in the system turn,
    calls in the assistant's, results in a user's. `weight: 0` on an assistant's turn keeps loss off it.

    Raises RecordError, naming the turn, if a turn has another shape or role or no content, if the turns do not begin
    with the user and end with the assistant, or if no assistant's turn is left to learn from.
    """
    if not isinstance(value, list):
        raise RecordError(Reason.WRONG_TYPE, f"`{key}` is a {type(value).__name__}, not a list of turns")
    if not value:
        raise RecordError(Reason.EMPTY, f"`{key}` has no turns")
    turns = _joined(_turn(turn, f"{key}[{index}]") for index, turn in enumerate(value))
    if described := tools_text(tools):
        turns = _with_tools(turns, described)
    _check_order(turns)
    messages = tuple(Message(_ROLE_OF[turn.speaker], turn.content, turn.trained) for turn in turns)
    if messages[-1].role != "assistant":
        raise RecordError(Reason.BAD_TURN_ORDER, f"`{key}` ends with {messages[-1].role}; nothing is left to learn")
    if not any(message.role == "assistant" and message.trained for message in messages):
        raise RecordError(Reason.EMPTY, f"every assistant turn of `{key}` has weight 0; nothing is left to learn")
    return messages


def with_system(record: Mapping[str, Any], turns: Any) -> Any:
    """Return `turns`, if they are a list, with the record's own `system` text before them.

    Turns that begin with a system turn keep that one alone, as LLaMA-Factory does.
    """
    system = record.get("system")
    if system in (None, "") or not isinstance(turns, list) or (turns and _is_by_system(turns[0])):
        return turns
    return [{"role": "system", "content": system}, *turns]


def _is_by_system(turn: object) -> bool:
    role = turn.get(_names(turn)[0]) if isinstance(turn, Mapping) else None
    return isinstance(role, str) and SPEAKERS.get(role) == "system"


def _names(turn: Mapping[str, Any]) -> tuple[str, str]:
    """Return the keys under which a turn has its role and its content; one with null counts as absent."""
    return next((names for names in _NAMES if turn.get(names[0]) is not None), _NAMES[0])


def _turn(turn: object, where: str) -> _Turn:
    if not isinstance(turn, Mapping):
        raise RecordError(Reason.WRONG_TYPE, f"`{where}` is a {type(turn).__name__}, not an object")
    role_key, content_key = _names(turn)
    for name in (role_key, content_key):
        if turn.get(name) is None and not (name == content_key and turn.get("tool_calls")):
            raise RecordError(Reason.MISSING_FIELD, f"`{where}` has no `{name}`")
    role = turn[role_key]
    speaker = SPEAKERS.get(role) if isinstance(role, str) else None
    if speaker is None:
        raise RecordError(Reason.INVALID_ROLE, f"`{where}.{role_key}` is {role!r}; known are {', '.join(SPEAKERS)}")
    content = _content(turn, content_key, where)
    # Other sets give turns of users and of the system a weight too.
    trained = _weight(turn, where) != 0 or _ROLE_OF[speaker] != "assistant"
    if speaker == "assistant" and (calls := turn.get("tool_calls")):
        text = calls_text(calls, f"{where}.tool_calls")
        return _Turn("call", f"{content}\n{text}" if content else text, trained, where)
    if not content:
        raise RecordError(Reason.EMPTY, f"`{where}.{content_key}` is empty")
    if speaker == "call":
        return _Turn(speaker, calls_text(content, f"{where}.{content_key}"), trained, where)
    return _Turn(speaker, response_text(content) if speaker == "response" else content, trained, where)


def _content(turn: Mapping[str, Any], key: str, where: str) -> str:
    content = turn.get(key)
    if content is None and turn.get("tool_calls"):
        return ""
    if isinstance(content, list):
        content = "".join(_part(part, f"{where}.{key}[{index}]") for index, part in enumerate(content))
    if not isinstance(content, str):
        raise RecordError(Reason.WRONG_TYPE, f"`{where}.{key}` is a {type(content).__name__}, not a string")
    return normalize_text(content).strip()


def _part(part: object, where: str) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return part["text"]
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise RecordError(Reason.WRONG_TYPE, f"`{where}` is of type {kind!r}; only text can be trained on")


def _weight(turn: Mapping[str, Any], where: str) -> int:
    weight = turn.get("weight")
    if weight is None:
        return 1
    if isinstance(weight, bool) or weight not in (0, 1):
        raise RecordError(Reason.WRONG_TYPE, f"`{where}.weight` is {weight!r}, neither 0 nor 1")
    return int(weight)


def _joined(turns: Iterable[_Turn]) -> list[_Turn]:
    """Make one turn of calls in a row, of what the assistant says before them, and of results in a row."""
    joined: list[_Turn] = []
    for turn in turns:
        before = joined[-1] if joined else None
        follows = before is not None and (
            turn.speaker == before.speaker in ("call", "response")
            or (turn.speaker == "call" and before.speaker == "assistant")
        )
        if before is not None and follows:
            content = f"{before.content}\n{turn.content}"
            joined[-1] = replace(turn, content=content, trained=before.trained and turn.trained, where=before.where)
        else:
            joined.append(turn)
    return joined


def _with_tools(turns: list[_Turn], described: str) -> list[_Turn]:
    if turns[0].speaker != "system":
        return [_Turn("system", described, True, "tools"), *turns]
    return [replace(turns[0], content=f"{turns[0].content}\n\n{described}"), *turns[1:]]


def _check_order(turns: list[_Turn]) -> None:
    offset = 1 if turns[0].speaker == "system" else 0
    roles: tuple[Role, Role] = ("user", "assistant")
    for index, turn in enumerate(turns[offset:]):
        if _ROLE_OF[turn.speaker] != roles[index % 2]:
            raise RecordError(
                Reason.BAD_TURN_ORDER, f"`{turn.where}` is by {turn.speaker}, where {roles[index % 2]} has the turn"
            )
        if turn.speaker == "response" and (index == 0 or turns[offset + index - 1].speaker != "call"):
            raise RecordError(Reason.BAD_TURN_ORDER, f"`{turn.where}` is the result of a call that was not made")
