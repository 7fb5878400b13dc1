"""`python -m llmops_assets.evaluation.teacher_answers job.json`: a teacher's answers to the prompts of an SFT set.

Sequence-level distillation (Kim & Rush 2016, arXiv 1606.07947): a student that is fine-tuned on them imitates its
teacher. The tokenizers of both may differ, for what passes is text.
"""

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.errors import LlmopsError
from llmops_assets.evaluation.inputs import HeldoutQuestion, as_chat, read_rows
from llmops_assets.evaluation.job import read_job, write_result
from llmops_assets.evaluation.process import run_process
from llmops_assets.training.distillation.job import TeacherRef
from llmops_assets.training.distillation.specs import AnsweringSpec

if TYPE_CHECKING:
    from llmops_assets.evaluation.generation import Answer
    from llmops_assets.evaluation.model import Policy

SET_FILE, RESULT_FILE = "train.jsonl", "teacher_answers.json"


class NoTeacherAnswer(LlmopsError):
    """The teacher gave no answer that a student could learn from."""


class TeacherAnswersJob(BaseModel):
    """What one such process reads and writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    teacher: TeacherRef
    spec: AnsweringSpec
    set_file: Path = Field(
        description="JSONL rows {id, messages} of an SFT set: all turns before the first answer are the prompt."
    )
    output_dir: Path = Field(description="Receives train.jsonl with the same rows, answered, and teacher_answers.json.")


class TeacherAnswersResult(BaseModel):
    """What became of the prompts. An answer is left out rather than cut, for a cut one teaches not to stop."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    teacher: str = Field(description="Digest of the teacher, as in every row.")
    prompts: int
    answers: int
    unfinished: int = Field(description="Answers that reached max_new_tokens without an end.")
    empty: int
    without_room: int = Field(description="Prompts that leave no room for max_new_tokens in the teacher's context.")
    answer_tokens: int
    seconds: float


def main(arguments: Sequence[str]) -> int:
    """Read the job file named by the only argument, let the teacher answer, and write the set atomically."""
    return run_process("llmops_assets.evaluation.teacher_answers", arguments, _answer)


def _answer(job_file: Path) -> None:
    job = read_job(job_file, TeacherAnswersJob)
    prompts = read_rows(job.set_file, HeldoutQuestion)
    result = answer_prompts(job, prompts)
    print(
        f"teacher {result.teacher[:12]} answered {result.answers} of {result.prompts} prompts in "
        f"{result.seconds:.1f} s ({result.unfinished} without an end, {result.empty} empty, "
        f"{result.without_room} without room)",
        flush=True,
    )


def answer_prompts(job: TeacherAnswersJob, prompts: Sequence[HeldoutQuestion]) -> TeacherAnswersResult:
    """Write train.jsonl with the teacher's answer to each prompt, and teacher_answers.json after it.

    Equal jobs give equal answers on equal hardware: a sampled token is fixed by the seed, the row's id and its place.

    Raises NoTeacherAnswer if no answer is left, and what loading the teacher raises.
    """
    from llmops_assets.evaluation.model import Policy
    from llmops_assets.training.distillation.teacher import load_teacher

    began = time.perf_counter()
    teacher = load_teacher(job.teacher, job.spec)
    policy = Policy(teacher.model, teacher.tokenizer, teacher.device, teacher.device.type)
    room = job.spec.max_new_tokens
    asked = [(prompt, policy.prompt_ids(prompt.question)) for prompt in prompts]
    fitting = [(prompt, ids) for prompt, ids in asked if len(ids) + room <= policy.context]
    answers = _generate(policy, fitting, job.spec)
    kept = [
        (prompt, answer)
        for (prompt, _), answer in zip(fitting, answers, strict=True)
        if answer.finished and answer.text
    ]
    result = TeacherAnswersResult(
        teacher=job.teacher.digest,
        prompts=len(prompts),
        answers=len(kept),
        unfinished=sum(not answer.finished for answer in answers),
        empty=sum(answer.finished and not answer.text for answer in answers),
        without_room=len(asked) - len(fitting),
        answer_tokens=sum(answer.tokens for _, answer in kept),
        seconds=round(time.perf_counter() - began, 3),
    )
    if not kept:
        raise NoTeacherAnswer(
            f"{job.set_file}: of {result.prompts} prompts, the teacher left {result.unfinished} without an end at "
            f"max_new_tokens: {room}, answered {result.empty} with nothing, and {result.without_room} had no room; "
            "raise max_new_tokens, or choose a teacher that can chat"
        )
    write_result(job.output_dir / SET_FILE, "".join(_lines(kept, job)))
    write_result(job.output_dir / RESULT_FILE, result.model_dump_json(indent=2))
    return result


def _generate(
    policy: "Policy", prompts: Sequence[tuple[HeldoutQuestion, list[int]]], spec: AnsweringSpec
) -> "list[Answer]":
    import torch

    from llmops_assets.evaluation.generation import generate
    from llmops_assets.evaluation.nucleus import NucleusDraw

    def draws(batch: list[int], width: int) -> NucleusDraw:
        rows = [_uniforms(spec.seed, prompts[index][0].id, spec.max_new_tokens) for index in batch]
        uniforms = torch.tensor(rows, dtype=torch.float32)
        return NucleusDraw(uniforms.to(policy.device), width, spec.temperature, top_p=1.0)

    return generate(
        policy,
        [ids for _, ids in prompts],
        max_new_tokens=spec.max_new_tokens,
        batch_size=spec.batch_size,
        steering=draws if spec.temperature else None,
    )


def _uniforms(seed: int, row_id: str, count: int) -> list[float]:
    import numpy

    digest = hashlib.sha256(f"{seed}|{row_id}|teacher".encode()).digest()
    return numpy.random.default_rng(int.from_bytes(digest[:16])).random(count).tolist()


def _lines(kept: "Sequence[tuple[HeldoutQuestion, Answer]]", job: TeacherAnswersJob) -> Iterator[str]:
    digest = job.teacher.digest
    for prompt, answer in kept:
        messages = [*as_chat(prompt.question), {"role": "assistant", "content": answer.text}]
        row: dict[str, Any] = {"id": prompt.id, "group": prompt.cluster, "messages": messages, "teacher": digest}
        yield json.dumps(row, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
