"""When two texts count as the same, and which texts are refused at the door.

Preference data is deduplicated on these hashes, so they must never depend on the database, the locale or the day.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from llmops_assets.feedback.errors import UnsafeText

_CHAT_TOKEN = re.compile(r"<\|[^\s<>|]{1,64}\|>")
# PostgreSQL's text type cannot hold NUL, and a lone surrogate has no UTF-8 form.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Turn(Protocol):
    """One turn of a conversation, whatever class it is of."""

    @property
    def role(self) -> str: ...
    @property
    def content(self) -> str: ...


def refuse_unsafe(text: str, where: str) -> str:
    """Return `text` unchanged, or raise `UnsafeText` naming `where` and the character at fault.

    A chat-template token such as `<|im_start|>` in user or model text would let its author forge a turn.
    """
    if found := _CHAT_TOKEN.search(text):
        raise UnsafeText(
            f"{where}: the chat token {found[0]!r} at character {found.start()} is not allowed inside text; "
            "remove or escape it before recording."
        )
    if found := _UNSTORABLE.search(text):
        raise UnsafeText(
            f"{where}: the character U+{ord(found[0]):04X} at position {found.start()} cannot be stored; remove it."
        )
    return text


def sha256_hex(text: str) -> str:
    """SHA-256 of the UTF-8 bytes of `text`, as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def normalize(text: str) -> str:
    """Unicode NFC with every run of white space as one blank; letter case stays, because code depends on it."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def text_hash(text: str) -> str:
    """Hash of a normalized response: equal hashes mean that a reader would see no difference."""
    return sha256_hex(normalize(text))


def canonical_messages(messages: Iterable[Turn]) -> str:
    """A conversation as canonical JSON text, exact enough to restore it character by character."""
    turns = [{"content": message.content, "role": message.role} for message in messages]
    return json.dumps(turns, ensure_ascii=False, separators=(",", ":"))


def prompt_hash(messages: Sequence[Turn]) -> str:
    """Hash of a normalized conversation; the unit by which votes are compared."""
    turns = [[message.role, normalize(message.content)] for message in messages]
    return sha256_hex(json.dumps(turns, ensure_ascii=False, separators=(",", ":")))


class RowTurn(NamedTuple):
    """One turn of a prompt as a row of JSONL has it."""

    role: str
    content: str

    @classmethod
    def of(cls, prompt: Iterable[Mapping[str, Any]]) -> "list[RowTurn]":
        return [cls(turn["role"], turn["content"]) for turn in prompt]


def seal_key(messages: Iterable[Turn]) -> str:
    """Hash of what was asked; the unit by which held-out preferences are split off.

    Coarser than `prompt_hash`: letter case, compatible characters and system turns make no difference, so that a
    sealed question is not trained on because somebody typed it another way.
    """
    turns = [
        [message.role, normalize(unicodedata.normalize("NFKC", message.content).casefold())]
        for message in messages
        if message.role != "system"
    ]
    return sha256_hex(json.dumps(turns, ensure_ascii=False, separators=(",", ":")))


def comparison_key(prompt: str, left: str, right: str) -> str:
    """Key of "these two texts for this prompt", whichever side each stood on. Arguments are hashes of this module."""
    return sha256_hex("\n".join([prompt, *sorted((left, right))]))


def pair_id(prompt: str, chosen: str, rejected: str) -> str:
    """Identity of an ordered preference pair. Arguments are hashes of this module."""
    return sha256_hex("\n".join([prompt, chosen, rejected]))
