"""Runs the training, evaluation and sampling processes: a job file in, a result file out, nothing left behind."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import BaseModel, Field

from llmops_assets.errors import LlmopsError
from llmops_assets.evaluation.data_generation import DataGenerationJob, DataGenerationResult
from llmops_assets.evaluation.job import EvaluationJob, SamplingJob
from llmops_assets.evaluation.scores import AdapterScores
from llmops_assets.evaluation.teacher_answers import TeacherAnswersJob, TeacherAnswersResult
from llmops_assets.evaluation.token_agreement import TokenAgreementJob, TokenDistances
from llmops_assets.resources.lost_rank import RankLost, how_it_was_lost
from llmops_assets.resources.memory_preflight import check_before_start
from llmops_assets.resources.supervised_process import SupervisedProcessFailed, run_supervised
from llmops_assets.training.distillation.job import TeacherLogitsJob, TeacherLogitsResult
from llmops_assets.training.job import BaseModelRef, TrainingJob, TrainingResult
from llmops_assets.training.preparation.job import PreparationJob
from llmops_assets.training.reference.job import ReferenceJob, ReferenceSummary

OnLine = Callable[[str], None]


class WorkerFailed(LlmopsError):
    """A training worker gave up with a sentence of its own; the launcher's noise around it is left in the log."""


class ResultMissing(LlmopsError):
    """A worker process ended well, but did not write its result."""


class Trainer(dg.ConfigurableResource):
    """Starts workers as supervised processes of their own session.

    Cancelling the caller stops the whole tree: SIGTERM, a checkpoint at the step boundary, a grace period, SIGKILL.
    """

    grace_seconds: float = Field(default=60, gt=0, description="Seconds between SIGTERM and SIGKILL.")
    memory_check: Literal["refuse", "warn"] = Field(
        default="refuse", description="What becomes of a stage whose estimate exceeds the memory of its GPUs."
    )

    def train(self, job: TrainingJob, *, environment: dict[str, str], on_line: OnLine) -> TrainingResult:
        """Run `job` where its `placement` says and return what rank 0 wrote.

        A result that is there counts, whatever the exit code: it is written last, and a rank may still fail while it
        tears down its process group.

        Raises:
            TooFewGpus, WillNotFit: the GPUs of this machine are too few or too small; nothing was started.
            RankLost: a rank was killed; another attempt resumes from the last checkpoint.
            WorkerFailed: the worker says what is wrong.
            SupervisedProcessFailed: it could not say; with the exit code and the last lines of the log.
            ResultMissing: the process ended with code 0 without a result.
        """
        check_before_start(job, environment, on_line, refuse=self.memory_check == "refuse")
        result_file = job.output_dir / "training_result.json"
        try:
            self._run(
                self._training_command(job),
                job=job,
                folder=job.checkpoint_dir,
                environment=environment | _offline_if_local(job.base_model.name),
                on_line=on_line,
            )
        except SupervisedProcessFailed as error:
            # First, since the ranks that were left complain about the connection that they lost.
            if not result_file.is_file() and (loss := how_it_was_lost(error)) is not None:
                raise RankLost(
                    f"{job.asset}: {loss}. The machine ran out of memory, was taken away, or a library crashed; the "
                    f"log is {error.log_path}. Launch the run again: it resumes from its last whole checkpoint."
                ) from error
            complaint = job.output_dir / "training_error.json"
            if complaint.is_file():
                message = json.loads(complaint.read_text())["message"]
                raise WorkerFailed(f"{message} (log: {error.log_path})") from error
            if not result_file.is_file():
                raise
        return TrainingResult.model_validate_json(_read(result_file))

    def _training_command(self, job: TrainingJob) -> list[str]:
        # What starts the ranks gives up before we do; torchrun's default of 30 s would kill ranks that still write
        # their checkpoint.
        patience = str(max(1, int(self.grace_seconds * 0.9)))
        if job.spec.placement == "ray":
            return [sys.executable, "-m", "llmops_assets.resources.ray_training", "--grace-seconds", patience]
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(job.spec.num_processes)]
        torchrun += ["--shutdown_timeout", patience, "--log_dir", str(job.checkpoint_dir / "ranks")]
        return [sys.executable, *torchrun, "-m", "llmops_assets.training.worker"]

    def prepare(self, job: PreparationJob, *, folder: Path, on_line: OnLine) -> dict[str, int]:
        """Prepare the rows of a stage and return their counts; job file and log go to `folder`. Raises as `train`."""
        self._work("llmops_assets.training.preparation.worker", job, [job.base_model], folder, on_line)
        return json.loads(_read(job.output_dir / "rows.json"))

    def take_reference(self, job: ReferenceJob, *, folder: Path, on_line: OnLine) -> ReferenceSummary:
        """Take the log-probs of a reference policy and return whose they are; otherwise as `prepare`."""
        self._work("llmops_assets.training.reference.worker", job, [job.base_model], folder, on_line)
        return ReferenceSummary.model_validate_json(_read(job.output_dir / "reference.json"))

    def record_teacher(self, job: TeacherLogitsJob, *, folder: Path, on_line: OnLine) -> TeacherLogitsResult:
        """Record a teacher's log-probs at prepared rows; otherwise as `prepare`."""
        bases = [job.teacher.base_model, job.student]
        self._work("llmops_assets.training.distillation.worker", job, bases, folder, on_line)
        return TeacherLogitsResult.model_validate_json(_read(job.output_dir / "teacher_logits.json"))

    def answer_as_teacher(self, job: TeacherAnswersJob, *, folder: Path, on_line: OnLine) -> TeacherAnswersResult:
        """Let a teacher answer the prompts of a set; otherwise as `prepare`."""
        bases = [job.teacher.base_model]
        self._work("llmops_assets.evaluation.teacher_answers", job, bases, folder, on_line)
        return TeacherAnswersResult.model_validate_json(_read(job.output_dir / "teacher_answers.json"))

    def generate_data(self, job: DataGenerationJob, *, folder: Path, on_line: OnLine) -> DataGenerationResult:
        """Let a model write a set, here or behind an endpoint; otherwise as `prepare`."""
        bases = [job.model.base_model] if job.model is not None else []
        self._work("llmops_assets.evaluation.data_generation", job, bases, folder, on_line)
        return DataGenerationResult.model_validate_json(_read(job.result_file))

    def compare_tokens(self, job: TokenAgreementJob, *, on_line: OnLine) -> TokenDistances:
        """Compare a student with its recorded teacher, token by token. Raises as `train` does."""
        folder = job.output_file.parent
        self._work("llmops_assets.evaluation.token_agreement", job, [job.base_model], folder, on_line)
        return TokenDistances.model_validate_json(_read(job.output_file))

    def evaluate(self, job: EvaluationJob, *, on_line: OnLine) -> AdapterScores:
        """Score one adapter and return its per-example scores. Raises as `train` does."""
        folder = job.output_file.parent
        self._work("llmops_assets.evaluation.worker", job, [job.base_model], folder, on_line)
        return AdapterScores.model_validate_json(_read(job.output_file))

    def sample(self, job: SamplingJob, *, on_line: OnLine) -> list[dict]:
        """Draw pairs of answers from one adapter; rows as in `SamplingJob.output_file`. Raises as `train` does."""
        folder = job.output_file.parent
        self._work("llmops_assets.evaluation.sampling", job, [job.base_model], folder, on_line)
        return [json.loads(line) for line in _read(job.output_file).splitlines()]

    def _work(self, module: str, job: BaseModel, models: Sequence[BaseModelRef], folder: Path, on_line: OnLine) -> None:
        environment = _offline_if_local(*(model.name for model in models))
        self._run([sys.executable, "-m", module], job=job, folder=folder, environment=environment, on_line=on_line)

    def _run(
        self,
        command: Sequence[str],
        *,
        job: BaseModel,
        folder: Path,
        environment: dict[str, str],
        on_line: OnLine,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        job_file = folder / "job.json"
        job_file.write_text(job.model_dump_json(indent=2))
        run_supervised(
            [*command, str(job_file)],
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false", **environment},
            log_path=folder / "worker.log",
            grace_seconds=self.grace_seconds,
            on_line=on_line,
        )


def _offline_if_local(*models: str) -> dict[str, str]:
    """Models that lie on this disk never need the hub, so the worker is forbidden to ask it."""
    return {"HF_HUB_OFFLINE": "1"} if all(Path(model).is_dir() for model in models) else {}


def _read(file: Path) -> str:
    if not file.is_file():
        raise ResultMissing(f"{file}: the worker ended without writing it; read worker.log beside it")
    return file.read_text()
