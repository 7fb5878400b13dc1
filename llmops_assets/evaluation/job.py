"""The job files of the two measuring processes, and how a process reads its job and leaves its result."""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmops_assets.errors import LlmopsError
from llmops_assets.evaluation.specs import EvaluationSpec
from llmops_assets.training.adapter_files import write_atomically
from llmops_assets.training.job import AdapterRef, BaseModelRef

Job = TypeVar("Job", bound=BaseModel)


class BrokenJob(LlmopsError):
    """A job file is missing, or does not follow its schema."""


class EvaluationJob(BaseModel):
    """What one evaluation process measures. A file that is None is a measurement left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    base_model: BaseModelRef
    adapter: AdapterRef | None = Field(default=None, description="None measures the base alone.")
    precision: Literal["fp32", "bf16"] | None = Field(
        default=None, description="Weights and compute; None is bf16 on a GPU and fp32 on a CPU."
    )
    quantization: Literal["none", "8bit", "4bit"] = Field(default="none", description="Weights of the base.")
    settings: EvaluationSpec
    perplexity_file: Path | None = Field(default=None, description="JSONL rows {id, text, group}.")
    questions_file: Path | None = Field(
        default=None,
        description="JSONL rows {id, group, messages}: all turns before the first assistant turn are the question.",
    )
    preferences_file: Path | None = Field(default=None, description="JSONL rows {pair_id, prompt, chosen, rejected}.")
    output_file: Path = Field(description="Receives AdapterScores as JSON, atomically.")


class SamplingJob(BaseModel):
    """What one sampling process generates: two answers to every prompt, so that a rater can compare them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    base_model: BaseModelRef
    adapter: AdapterRef | None = Field(default=None, description="None samples from the base alone.")
    prompts_file: Path = Field(description="JSONL rows {id, messages}; the last message is a user's.")
    temperature: float = Field(default=0.9, gt=0, description="Logits are divided by this.")
    top_p: float = Field(default=0.95, gt=0, le=1, description="Smallest set of tokens with this mass is sampled from.")
    max_new_tokens: int = Field(default=48, gt=0, description="Longest answer in tokens.")
    batch_size: int = Field(default=64, gt=0, description="Answers generated at once.")
    seed: int = Field(default=7, ge=0, description="With the prompt id and the side it fixes every draw.")
    output_file: Path = Field(description="Receives JSONL rows {id, prompt, left, right}, atomically.")


def read_job(path: Path, schema: type[Job]) -> Job:
    """Read a job file. Raises BrokenJob with the first key that is wrong."""
    try:
        return schema.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BrokenJob(f"{path}: cannot be read ({error.strerror}); pass the path of a job file") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BrokenJob(f"{path}: {key}: {first['msg']}; write it as {schema.__name__} asks") from error


def write_result(path: Path, text: str) -> None:
    """Write `text`, making the folder it goes to; a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
