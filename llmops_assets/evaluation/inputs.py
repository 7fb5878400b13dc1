"""The rows that a measurement reads: typed at the door, unique by id, chosen by hash."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmops_assets.errors import LlmopsError


class BrokenInput(LlmopsError):
    """A row of an evaluation file cannot be used, or the file holds none."""


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    weight: int = Field(default=1, description="0 where an assistant's turn is not trained on.")


class EvaluationRow(BaseModel):
    """A row with an identity: `id` pairs it between two adapters, `group` clusters what is not independent."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    id: str = Field(min_length=1)
    group: str = ""

    @property
    def cluster(self) -> str:
        """The group, or the row itself where none is given."""
        return self.group or self.id


class HeldoutDocument(EvaluationRow):
    """A text that no training stage has seen."""

    text: str = Field(min_length=1)


class HeldoutQuestion(EvaluationRow):
    """A conversation of which the first trained assistant turn is the reference answer; later turns are not used."""

    messages: list[Message]

    @model_validator(mode="after")
    def _has_question_and_answer(self) -> "HeldoutQuestion":
        answer = next((i for i, message in enumerate(self.messages) if _is_trained(message)), 0)
        if not any(message.role == "user" for message in self.messages[:answer]):
            raise ValueError("needs a user turn and, after it, an assistant turn")
        return self

    @property
    def question(self) -> list[Message]:
        """All turns before the reference answer."""
        return self.messages[: self._answer_at]

    @property
    def reference(self) -> str:
        """Text of the reference answer."""
        return self.messages[self._answer_at].content

    @property
    def _answer_at(self) -> int:
        return next(index for index, message in enumerate(self.messages) if _is_trained(message))


def _is_trained(message: Message) -> bool:
    return message.role == "assistant" and message.weight != 0


class HeldoutPair(EvaluationRow):
    """Two answers to one prompt, of which people chose one. Pairs with one prompt form a cluster."""

    id: str = Field(alias="pair_id", min_length=1)
    prompt: list[Message] = Field(min_length=1)
    chosen: str = Field(min_length=1)
    rejected: str = Field(min_length=1)

    @property
    def cluster(self) -> str:
        turns = json.dumps([[turn.role, turn.content] for turn in self.prompt], ensure_ascii=False)
        return self.group or hashlib.sha256(turns.encode()).hexdigest()[:16]


class SamplingPrompt(EvaluationRow):
    """A conversation that waits for an answer."""

    messages: list[Message] = Field(min_length=1)


Row = TypeVar("Row", bound=EvaluationRow)


class Identified(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str: ...


Chosen = TypeVar("Chosen", bound=Identified)


def read_rows(path: Path, schema: type[Row]) -> list[Row]:
    """Read a JSONL file of `schema`. Raises BrokenInput with file, line and reason; blank lines are skipped."""
    if not path.is_file():
        raise BrokenInput(f"{path}: no such file; materialize the data set that this evaluation reads")
    rows: list[Row] = []
    seen: dict[str, int] = {}
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = schema.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"]) or "row"
                raise BrokenInput(f"{path}, line {number}: {where}: {first['msg']}") from error
            if row.id in seen:
                raise BrokenInput(f"{path}, line {number}: id {row.id!r} is also on line {seen[row.id]}; ids pair rows")
            seen[row.id] = number
            rows.append(row)
    if not rows:
        raise BrokenInput(f"{path}: holds no row; an evaluation needs at least one")
    return rows


def in_hash_order(rows: Iterable[Chosen], seed: int) -> list[Chosen]:
    """Rows ordered by sha256(seed, id): a prefix is a random sample that stays put when rows are added elsewhere."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"{seed}|{row.id}".encode()).digest())


def as_chat(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The shape that chat templates take."""
    return [{"role": message.role, "content": message.content} for message in messages]
