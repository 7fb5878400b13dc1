"""`python -m llmops_assets.evaluation.token_agreement job.json`: a student against its recorded teacher."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.errors import LlmopsError
from llmops_assets.evaluation.job import read_job, write_result
from llmops_assets.evaluation.process import run_process
from llmops_assets.training.job import AdapterRef, BaseModelRef

if TYPE_CHECKING:
    import torch

    from llmops_assets.training.distillation.divergence import TopK


class RowsOfOtherTeacher(LlmopsError):
    """The recording of the teacher does not belong to the held-out rows."""


class TokenAgreementJob(BaseModel):
    """What one such process measures: one student, against a teacher that was recorded before."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    base_model: BaseModelRef
    adapter: AdapterRef | None = Field(default=None, description="None measures the base alone.")
    rows: Path = Field(description="Folder of prepared rows.")
    teacher_logits: Path = Field(description="Folder with the teacher recorded on them.")
    file: Literal["validation.arrow", "train.arrow"] = Field(
        default="validation.arrow", description="Rows that the student was not trained on."
    )
    batch_size: int = Field(default=16, gt=0, description="Documents per forward pass.")
    output_file: Path = Field(description="Receives TokenDistances as JSON, atomically.")


class RowDistance(BaseModel):
    """A held-out row: sums over its answer tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int
    agreed: int = Field(description="Tokens at which student and teacher find the same token likeliest.")
    kl: float = Field(
        description="KL(teacher || student) in nats at temperature 1, over the teacher's kept tokens and one bucket "
        "for the rest; never more than over the whole vocabulary."
    )


class TokenDistances(BaseModel):
    """What a token agreement process leaves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    adapter_sha256: str | None
    rows: list[RowDistance]


def main(arguments: Sequence[str]) -> int:
    """Read the job file named by the only argument, measure, and write the distances atomically."""
    return run_process("llmops_assets.evaluation.token_agreement", arguments, _measure)


def _measure(job_file: Path) -> None:
    job = read_job(job_file, TokenAgreementJob)
    rows = list(row_distances(job))
    sha256 = job.adapter.sha256 if job.adapter else None
    write_result(job.output_file, TokenDistances(adapter_sha256=sha256, rows=rows).model_dump_json(indent=1))
    print(f"{sum(row.tokens for row in rows):,} answer tokens of {len(rows)} rows compared", flush=True)


def row_distances(job: TokenAgreementJob) -> Iterator[RowDistance]:
    """Yield the distance at each row, in order.

    Raises RowsOfOtherTeacher, MissingRows, UnusableHead, and what loading the student raises.
    """
    import torch
    from peft import PeftModel

    from llmops_assets.evaluation.model import load_policy
    from llmops_assets.training.distillation.labelled_positions import documents_of, states_before_labels
    from llmops_assets.training.distillation.vocabulary import output_head
    from llmops_assets.training.preparation.arrow_rows import read_rows

    policy = load_policy(job.base_model, job.adapter)
    core: Any = policy.model.get_base_model() if isinstance(policy.model, PeftModel) else policy.model
    vocabulary = len(policy.tokenizer)
    head = output_head(core, vocabulary)
    rows, recorded = read_rows(job.rows, job.file), read_rows(job.teacher_logits, job.file)
    if len(rows) != len(recorded):
        raise RowsOfOtherTeacher(
            f"{job.teacher_logits / job.file}: {len(recorded)} rows for {len(rows)}; materialize teacher_logits again"
        )
    with torch.inference_mode():
        for begin in range(0, len(rows), job.batch_size):
            window = range(begin, min(begin + job.batch_size, len(rows)))
            documents = [documents_of(rows[index]) for index in window]
            flat = [document for row in documents for document in row]
            states = states_before_labels(core.base_model, flat, policy.device)
            for index, row in zip(window, documents, strict=True):
                hidden = torch.cat([next(states)[1] for _ in row])
                teacher = _recorded(recorded[index], policy.device)
                if len(hidden) != len(teacher.tail):
                    raise RowsOfOtherTeacher(
                        f"{job.teacher_logits / job.file}, row {index}: recorded at {len(teacher.tail)} tokens, the "
                        f"row has {len(hidden)}; materialize teacher_logits again"
                    )
                yield _distance(head(hidden)[:, :vocabulary].float(), teacher)


def _recorded(row: dict[str, Any], device: "torch.device") -> "TopK":
    import torch

    from llmops_assets.training.distillation.divergence import TopK
    from llmops_assets.training.distillation.teacher_logits import IDS, LOG_PROBS, TAIL

    tail = torch.tensor(row[TAIL], dtype=torch.float32, device=device)
    shape = (len(tail), len(row[IDS]) // max(1, len(tail)))
    ids = torch.tensor(row[IDS], dtype=torch.long, device=device).view(shape)
    return TopK(ids, torch.tensor(row[LOG_PROBS], dtype=torch.float32, device=device).view(shape), tail)


def _distance(logits: "torch.Tensor", teacher: "TopK") -> RowDistance:
    from llmops_assets.training.distillation.divergence import Objective

    agreed = logits.argmax(dim=-1) == teacher.token_ids[:, 0]
    kl = Objective("forward_kl")(logits, teacher).double().sum()
    return RowDistance(tokens=len(logits), agreed=int(agreed.sum()), kl=float(kl))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
