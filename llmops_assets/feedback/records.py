"""The typed values that enter and leave the feedback store. What is valid here is never checked again further in."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from llmops_assets.feedback.text_identity import refuse_unsafe

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
DeploymentName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
RECORD_ID = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}"
RecordId = Annotated[str, StringConstraints(pattern=f"^{RECORD_ID}$")]

Side = Literal["left", "right"]
Verdict = Literal["left", "right", "tie", "both_bad", "skip"]
Finish = Literal["stop", "length", "error"]
RaterKind = Literal["human", "service", "llm_judge", "simulated"]
RaterTrust = Literal["authenticated", "anonymous"]


def describe(error: ValidationError) -> str:
    """A pydantic error in one line: the place, what is wrong there, and how many more problems there are."""
    first, *more = error.errors(include_url=False)
    place = ".".join(str(part) for part in first["loc"]) or "record"
    return f"{place}: {first['msg']}" + (f" (and {len(more)} more)" if more else "")


class Record(BaseModel):
    """Base of the values here: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Record):
    """One turn of a conversation. Raises `UnsafeText` for chat-template tokens inside the content."""

    role: Literal["system", "user", "assistant"]
    content: str

    @model_validator(mode="after")
    def _content_is_safe(self) -> Self:
        refuse_unsafe(self.content, f"message of role {self.role!r}")
        return self


class Response(Record):
    """One answer of one adapter, as the rater saw it. `version` is the SHA-256 of the adapter that wrote it."""

    text: str
    version: Sha256
    finish: Finish = "stop"
    tokens: int | None = Field(default=None, ge=0)
    total_ms: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _text_is_safe(self) -> Self:
        refuse_unsafe(self.text, f"response of version {self.version[:12]}")
        return self


class Battle(Record):
    """Two answers to one prompt, left and right as they were shown. Raises `ValueError` for a prompt that ends in an
    assistant turn, and for generation parameters that JSON cannot hold."""

    deployment: DeploymentName
    prompt: list[Message] = Field(min_length=1)
    left: Response
    right: Response
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    generation: dict[str, Any] = Field(default_factory=dict)
    source: str = Field(default="api", min_length=1, max_length=64)

    @field_validator("prompt")
    @classmethod
    def _prompt_awaits_an_answer(cls, prompt: list[Message]) -> list[Message]:
        if prompt[-1].role == "assistant":
            raise ValueError("the prompt must end with a user or system turn; the answers are left and right")
        return prompt

    @field_validator("generation")
    @classmethod
    def _generation_is_json(cls, generation: dict[str, Any]) -> dict[str, Any]:
        # The round trip makes the value equal to what the store will give back (tuples become lists).
        try:
            return json.loads(json.dumps(generation, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"generation must hold JSON values only: {error}") from error

    @property
    def kind(self) -> Literal["cross", "self"]:
        """`self` when one version plays against itself: good for training, never evidence for a gate."""
        return "self" if self.left.version == self.right.version else "cross"


class Rater(Record):
    """Who voted. The subject (an account, a key's name) is never stored; only its keyed hash is."""

    subject: str = Field(min_length=1, max_length=512)
    kind: RaterKind
    trust: RaterTrust = "authenticated"


class AdapterVersion(Record):
    """An adapter that may appear in battles: a content hash with a label that can never come to mean another hash."""

    adapter_sha256: Sha256
    deployment: DeploymentName
    label: str = Field(pattern=r"^v[1-9][0-9]{0,8}\.[0-9]{1,9}$")
    stage: str = Field(min_length=1, max_length=64)
    parent_sha256: Sha256 | None
    base_model: str = Field(min_length=1, max_length=256)
    asset_key: str = Field(min_length=1, max_length=256)
    materialization_run: str | None = Field(max_length=64)
    mlflow_run: str | None = Field(max_length=64)
    created_at: AwareDatetime


class PreferencePair(Record):
    """One pair that may be trained on. `seq` and the rater are those of the first vote that decided it."""

    pair_id: str
    battle_id: str
    vote_id: str
    seq: int
    prompt: list[Message]
    chosen: str
    rejected: str
    chosen_version: str
    rejected_version: str
    rater_id: str
    rater_kind: RaterKind
    chosen_side: Side


class LeftOutVote(Record):
    """A vote that stands for no pair, and why. It names no rater and holds no text: those can be erased, this not."""

    vote_id: str
    battle_id: str
    seq: int
    reason: str
    detail: str = ""


class PairSelection(Record):
    """Usable pairs in vote order, and why every other vote is not one of them, in vote order too."""

    pairs: list[PreferencePair]
    left_out: list[LeftOutVote]
    through_seq: int

    @property
    def votes(self) -> int:
        """How many votes there are up to and including `through_seq`; each is a pair or left out."""
        return len(self.pairs) + len(self.left_out)

    @property
    def excluded(self) -> dict[str, int]:
        """How many votes each reason left out."""
        return dict(sorted(Counter(vote.reason for vote in self.left_out).items()))


class PairCounts(Record):
    """What the trigger needs: pairs that became usable since a watermark, and the newest vote (0: no vote)."""

    new_usable: int
    through_seq: int


class ImportResult(Record):
    """Outcome of an import. `rejected` holds (line number from 1, reason); those lines are in `quarantine_path`."""

    accepted: int
    duplicates: int
    versions_added: int
    rejected: list[tuple[int, str]]
    quarantine_path: Path | None


class NewVote(Record):
    """A vote as it is about to be written; the store adds its number."""

    vote_id: RecordId
    battle_id: RecordId
    rater_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    verdict: Verdict
    reason_tags: list[Annotated[str, StringConstraints(min_length=1, max_length=64)]] = Field(max_length=32)
    comment: str | None = Field(max_length=10_000)
    shown_at: AwareDatetime | None
    voted_at: AwareDatetime
    dwell_ms: int | None = Field(ge=0, lt=2**63)
    supersedes: RecordId | None
    retracted: bool
    idempotency_key: str | None = Field(min_length=1, max_length=128)

    @field_validator("comment")
    @classmethod
    def _comment_is_safe(cls, comment: str | None) -> str | None:
        return comment if comment is None else refuse_unsafe(comment, "comment of a vote")

    def same_act(self, other: "NewVote") -> bool:
        """Whether two votes say the same, whatever id and time of arrival they were given."""
        arrival = {"vote_id", "voted_at"}
        return self.model_dump(exclude=arrival) == other.model_dump(exclude=arrival)
