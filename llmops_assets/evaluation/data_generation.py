"""`python -m llmops_assets.evaluation.data_generation job.json`: a set that a model writes, here or at an endpoint."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.data.generation.specs import EndpointSpec, GroundedSpec, InstructionsSpec
from llmops_assets.evaluation.job import read_job, write_result
from llmops_assets.evaluation.process import run_process
from llmops_assets.training.distillation.job import TeacherRef

if TYPE_CHECKING:
    from llmops_assets.data.generation.asking import Asker
    from llmops_assets.data.generation.generated_set import GeneratedSetSummary
    from llmops_assets.data.generation.requests import Generator

RESULT_FILE = "generation.json"


class SelfInstructTask(BaseModel):
    """New tasks and their solutions, from seeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["self_instruct"] = "self_instruct"
    spec: InstructionsSpec
    recipe_dir: Path = Field(description="Where the relative pattern of the seeds starts.")


class GroundedTask(BaseModel):
    """Questions and answers about a built corpus."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["grounded"] = "grounded"
    spec: GroundedSpec
    corpus_dir: Path
    tokenizer_file: Path = Field(description="Counts the tokens of chunks.")


class DataGenerationJob(BaseModel):
    """What one such process reads and writes. The key of an endpoint is in its environment alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    task: Annotated[SelfInstructTask | GroundedTask, Field(discriminator="kind")]
    model: TeacherRef | None = Field(default=None, description="The weights of a local generator.")
    cache_dir: Path = Field(description="Responses by the hash of their request; builds share it.")
    output_dir: Path = Field(description="Receives rows.jsonl and quarantine.jsonl.")
    result_file: Path = Field(description="Receives what this process did, which the set does not depend on.")


class DataGenerationResult(BaseModel):
    """The set, and what it took this time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    summary: dict = Field(description="GeneratedSetSummary of the set.")
    sent: int = Field(description="Requests that the generator answered.")
    from_cache: int = Field(description="Requests that the cache answered.")
    retries: int = Field(description="Tries that an endpoint did not answer well.")
    seconds: float


def main(arguments: Sequence[str]) -> int:
    """Read the job file named by the only argument, generate, and write the set."""
    return run_process("llmops_assets.evaluation.data_generation", arguments, _generate)


def _generate(job_file: Path) -> None:
    result = generate_data(read_job(job_file, DataGenerationJob))
    counts = result.summary["counts"]
    print(
        f"{counts['rows']} rows in {result.seconds:.1f} s: {result.sent} requests sent, {result.from_cache} from the "
        f"cache, {result.retries} tried again; stopped because {result.summary['stopped']}",
        flush=True,
    )


def generate_data(job: DataGenerationJob) -> DataGenerationResult:
    """Generate the set of `job`, and write its result after it.

    Equal jobs with equal responses give equal bytes. A job that was killed goes on from the responses in its cache.

    Raises EndpointError, TooFewAccepted, TooFewSeeds, MissingSourceError, and what loading a model raises.
    """
    from llmops_assets.data.generation.asking import Asker
    from llmops_assets.data.generation.endpoint import EndpointGenerator
    from llmops_assets.data.generation.response_cache import ResponseCache

    began = time.perf_counter()
    spec = job.task.spec
    generator = _generator(job)
    asker = Asker(generator, ResponseCache(job.cache_dir), max_requests=spec.max_requests, max_tokens=spec.max_tokens)
    summary = _built(job, asker)
    result = DataGenerationResult(
        summary=summary.model_dump(mode="json"),
        sent=asker.sent,
        from_cache=asker.from_cache,
        retries=generator.retries if isinstance(generator, EndpointGenerator) else 0,
        seconds=round(time.perf_counter() - began, 3),
    )
    write_result(job.result_file, result.model_dump_json(indent=2))
    return result


def _generator(job: DataGenerationJob) -> "Generator":
    generator = job.task.spec.generator
    if isinstance(generator, EndpointSpec):
        from llmops_assets.data.generation.endpoint import EndpointGenerator

        return EndpointGenerator(generator)
    # torch is loaded for a model that runs here alone.
    from llmops_assets.evaluation.local_generator import LocalGenerator

    assert job.model is not None, "the job of a local generator names its weights"
    return LocalGenerator(generator, job.model)


def _built(job: DataGenerationJob, asker: "Asker") -> "GeneratedSetSummary":
    match job.task:
        case SelfInstructTask(spec=spec, recipe_dir=recipe_dir):
            from llmops_assets.data.self_instruct.pipeline import build_instructions

            return build_instructions(spec, asker, recipe_dir, job.output_dir)
        case GroundedTask(spec=spec, corpus_dir=corpus_dir, tokenizer_file=tokenizer_file):
            from llmops_assets.data.grounded.pipeline import build_grounded_pairs

            return build_grounded_pairs(spec, asker, corpus_dir, tokenizer_file, job.output_dir)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
