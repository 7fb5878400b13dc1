"""The typed records that flow through the data stages: documents, conversations, and what was rejected and why."""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


class Reason(StrEnum):
    """Why a record was not used. `is_malformed` tells broken input from good input that was not wanted."""

    INVALID_UTF8 = "invalid_utf8"
    INVALID_JSON = "invalid_json"
    INVALID_UNICODE = "invalid_unicode"
    INVALID_MARKUP = "invalid_markup"
    DUPLICATE_KEY = "duplicate_key"
    NOT_FINITE = "not_finite_number"
    TOO_LARGE = "too_large"
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_FORMAT = "unknown_format"
    AMBIGUOUS_FORMAT = "ambiguous_format"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    INVALID_ROLE = "invalid_role"
    BAD_TURN_ORDER = "bad_turn_order"
    INVALID_TOOL_CALL = "invalid_tool_call"
    EMPTY = "empty"
    DUPLICATE_ID = "duplicate_id"
    TOO_SHORT = "too_short"
    REPETITIVE = "repetitive"
    WORD_LENGTH = "word_length"
    SYMBOLS = "symbols"
    BULLETS = "bullets"
    ELLIPSES = "ellipses"
    FEW_LETTERS = "few_letters"
    FEW_STOP_WORDS = "few_stop_words"
    BOILERPLATE = "boilerplate"
    LANGUAGE = "language"
    PERSONAL_DATA = "personal_data"
    BEYOND_SHARE = "beyond_share"
    TOO_LONG = "too_long"
    EXACT_DUPLICATE = "exact_duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    CONTAINED_IN_TRAIN = "contained_in_train"
    CONTAMINATED = "contaminated"
    BINARY = "binary"
    MINIFIED = "minified"
    GENERATED = "generated"
    TIE = "tie"
    CONTRADICTION = "contradiction"
    VOTED_ON = "voted_on"
    SCORES_DISAGREE = "scores_disagree"
    SAME_ANSWERS = "same_answers"
    DIFFERENT_PROMPTS = "different_prompts"
    NO_ALTERNATIVE = "no_alternative"
    BLOCKED_WORDS = "blocked_words"
    LEADING_PUNCTUATION = "leading_punctuation"
    TOO_SIMILAR = "too_similar"
    INPUT_IS_OUTPUT = "input_is_output"
    UNFINISHED = "unfinished"
    TRUNCATED = "truncated"
    NOT_UNDERSTOOD = "not_understood"
    REFUSED = "refused"
    NO_ROOM = "no_room"
    NO_BUDGET = "no_budget"
    NOT_ASKED_FOR = "not_asked_for"
    NOT_IN_TEXT = "not_in_text"
    UNANSWERABLE = "unanswerable"

    @property
    def is_malformed(self) -> bool:
        return self not in _UNWANTED


_UNWANTED = frozenset(
    {
        Reason.TOO_SHORT,
        Reason.REPETITIVE,
        Reason.WORD_LENGTH,
        Reason.SYMBOLS,
        Reason.BULLETS,
        Reason.ELLIPSES,
        Reason.FEW_LETTERS,
        Reason.FEW_STOP_WORDS,
        Reason.BOILERPLATE,
        Reason.LANGUAGE,
        Reason.PERSONAL_DATA,
        Reason.BEYOND_SHARE,
        Reason.TOO_LONG,
        Reason.EXACT_DUPLICATE,
        Reason.NEAR_DUPLICATE,
        Reason.CONTAINED_IN_TRAIN,
        Reason.CONTAMINATED,
        Reason.BINARY,
        Reason.MINIFIED,
        Reason.GENERATED,
        Reason.TIE,
        Reason.CONTRADICTION,
        Reason.VOTED_ON,
        Reason.SCORES_DISAGREE,
        Reason.SAME_ANSWERS,
        Reason.DIFFERENT_PROMPTS,
        Reason.NO_ALTERNATIVE,
        Reason.BLOCKED_WORDS,
        Reason.LEADING_PUNCTUATION,
        Reason.TOO_SIMILAR,
        Reason.INPUT_IS_OUTPUT,
        Reason.UNFINISHED,
        Reason.TRUNCATED,
        Reason.NOT_UNDERSTOOD,
        Reason.REFUSED,
        Reason.NO_ROOM,
        Reason.NO_BUDGET,
        Reason.NOT_ASKED_FOR,
        Reason.NOT_IN_TEXT,
        Reason.UNANSWERABLE,
    }
)


class RecordError(ValueError):
    """A record breaks a rule of its format; `reason` is its quarantine reason, the message its detail."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class QuarantinedRecord:
    """One rejected record: where it stood and why it was rejected. `line` is 1-based, 0 where there are no lines."""

    source: str
    origin_file: str
    line: int
    reason: Reason
    detail: str
    excerpt: str

    def to_row(self) -> dict[str, Any]:
        """Return the record as a row of quarantine.jsonl."""
        return {
            "source": self.source,
            "origin_file": self.origin_file,
            "line": self.line,
            "reason": str(self.reason),
            "detail": self.detail,
            "excerpt": self.excerpt,
        }


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a corpus.

    `origin` is `file:line` or a URL. Documents of one `group` (an API and its methods, a topic) never straddle a split.
    `text[:body_start]` is a heading made from the metadata, such as a name with its signature; filters and
    deduplication look at the body only.
    """

    id: str
    text: str
    source: str
    origin: str
    group: str
    license: str
    body_start: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> str:
        return self.text[self.body_start :]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. An assistant's turn that is not `trained` carries no loss."""

    role: Role
    content: str
    trained: bool = True

    def to_row(self) -> dict[str, Any]:
        """Return the turn as OpenAI's fine-tuning format has it: `weight` 0 where it is not trained."""
        row = {"role": self.role, "content": self.content}
        return row if self.trained else {**row, "weight": 0}


@dataclass(frozen=True, slots=True)
class Span:
    """Where an extracted answer stands: code points `start:end` of the text of a document.

    With `whitespace_normalised`, every run of white space of the span is one space in the answer; else they are equal.
    """

    document_id: str
    start: int
    end: int
    source_sha256: str
    whitespace_normalised: bool

    def to_row(self) -> dict[str, Any]:
        return {
            "document_id": self.document_id,
            "start": self.start,
            "end": self.end,
            "source_sha256": self.source_sha256,
            "whitespace_normalised": self.whitespace_normalised,
        }


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages that end with the assistant; `spans` has an entry per assistant turn, None if it is not extracted.

    `layout` is the name of the format that the record was read in, `class_name` the class that it says it is of.
    """

    id: str
    messages: tuple[Message, ...]
    source: str
    origin: str
    group: str
    generator: str
    spans: tuple[Span | None, ...]
    layout: str = "messages"
    class_name: str | None = None

    def to_row(self) -> dict[str, Any]:
        """Return the conversation as a row of train.jsonl or heldout.jsonl, without a class where it has none."""
        return {
            "id": self.id,
            "messages": [message.to_row() for message in self.messages],
            "source": self.source,
            "origin": self.origin,
            "group": self.group,
            "generator": self.generator,
            "spans": [span.to_row() if span else None for span in self.spans],
            **({"class": self.class_name} if self.class_name is not None else {}),
        }


def canonical_json(value: object) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, no escapes of non-ASCII, strings in NFC."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return unicodedata.normalize("NFC", text)


def row_hash(value: object) -> str:
    """Return the sha256 (hex) of the canonical JSON of `value`: equal for rows that say the same."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()
