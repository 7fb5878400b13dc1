"""Record formats: from the object of one line to the messages of a conversation or the text of a document.

A new format is a function here and a line in `CONVERSATION_FORMATS`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.records import ROLES, Message, Reason, RecordError, Role


def messages_of(value: object, *, key: str = "messages") -> tuple[Message, ...]:
    """Return the turns of a list of `{"role", "content"}`: an optional system turn, then user and assistant by turns.

    Contents are normalized. Raises RecordError, naming the turn, if a turn has another shape or role or no content,
    or if the turns do not begin with the user and end with the assistant.
    """
    if not isinstance(value, list):
        raise RecordError(Reason.WRONG_TYPE, f"`{key}` is a {type(value).__name__}, not a list of turns")
    if not value:
        raise RecordError(Reason.EMPTY, f"`{key}` has no turns")
    messages = tuple(_message(turn, f"{key}[{index}]") for index, turn in enumerate(value))
    _check_order(messages, key)
    return messages


def _message(turn: object, where: str) -> Message:
    if not isinstance(turn, Mapping):
        raise RecordError(Reason.WRONG_TYPE, f"`{where}` is a {type(turn).__name__}, not an object")
    for name in ("role", "content"):
        if name not in turn:
            raise RecordError(Reason.MISSING_FIELD, f"`{where}` has no `{name}`")
    role, content = turn["role"], turn["content"]
    if role not in ROLES:
        raise RecordError(Reason.INVALID_ROLE, f"`{where}.role` is {role!r}; known are {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise RecordError(Reason.WRONG_TYPE, f"`{where}.content` is a {type(content).__name__}, not a string")
    content = normalize_text(content).strip()
    if not content:
        raise RecordError(Reason.EMPTY, f"`{where}.content` is empty")
    return Message(role, content)


def _check_order(messages: tuple[Message, ...], key: str) -> None:
    offset = 1 if messages[0].role == "system" else 0
    turns: tuple[Role, Role] = ("user", "assistant")
    for index, message in enumerate(messages[offset:]):
        if message.role != turns[index % 2]:
            where = f"{key}[{index + offset}]"
            raise RecordError(
                Reason.BAD_TURN_ORDER, f"`{where}` is by {message.role}, where {turns[index % 2]} has the turn"
            )
    if messages[-1].role != "assistant":
        raise RecordError(Reason.BAD_TURN_ORDER, f"`{key}` ends with {messages[-1].role}; nothing is left to learn")


CONVERSATION_FORMATS: dict[str, Callable[[object], tuple[Message, ...]]] = {"messages": messages_of}


def parse_conversation(value: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the messages of a record in the first of `CONVERSATION_FORMATS` whose key it has.

    Raises RecordError if it has none of the keys or breaks the rules of that format.
    """
    for key, parse in CONVERSATION_FORMATS.items():
        if key in value:
            return parse(value[key])
    known = ", ".join(f"`{key}`" for key in CONVERSATION_FORMATS)
    raise RecordError(Reason.UNKNOWN_FORMAT, f"keys are {sorted(value)}; a conversation has {known}")


def parse_text(value: Mapping[str, Any], *, key: str = "text") -> str:
    """Return the normalized text of a corpus record; raises RecordError if it is missing, no string, or empty."""
    if key not in value:
        raise RecordError(Reason.MISSING_FIELD, f"no `{key}`; keys are {sorted(value)}")
    text = value[key]
    if not isinstance(text, str):
        raise RecordError(Reason.WRONG_TYPE, f"`{key}` is a {type(text).__name__}, not a string")
    text = normalize_text(text).strip("\n")
    if not text.strip():
        raise RecordError(Reason.EMPTY, f"`{key}` is empty")
    return text


def optional_name(value: Mapping[str, Any], key: str) -> str | None:
    """Return the string under an optional `key` such as `id` or `group`; RecordError if it is none or empty."""
    name = value.get(key)
    if name is None:
        return None
    if not isinstance(name, str) or not name.strip():
        raise RecordError(Reason.WRONG_TYPE, f"`{key}` must be a string with text, and is {name!r}")
    return name
