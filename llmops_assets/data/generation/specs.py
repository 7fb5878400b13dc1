"""What a recipe says about rows that a model writes: which model, how it samples, what it may cost, what is kept."""

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from llmops_assets.data.licenses import UNKNOWN, License
from llmops_assets.data.sources.specs import FilesSource

# Words of tasks that a language model cannot do, or that ask for what a text cannot hold (Wang et al. 2022).
_ENGLISH_WORDS = (
    *("image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot"),
    *("go to", "video", "audio", "music", "flowchart", "diagram"),
)


class SamplingSpec(BaseModel):
    """How a model draws its words; the parameters of the chat-completions API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(default=0.0, ge=0, le=2, description="0 takes the likeliest token.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Smallest set of tokens with this mass is sampled from.")
    presence_penalty: float = Field(
        default=0.0, ge=-2, le=2, description="Taken off the logit of every token that the answer already holds."
    )
    max_tokens: int = Field(default=512, gt=0, description="Longest response; what it cuts off is dropped.")


class EndpointSpec(BaseModel):
    """A server that speaks OpenAI's chat-completions API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["endpoint"] = "endpoint"
    base_url: str = Field(description="Address up to /chat/completions, such as https://api.example.com/v1.")
    model: str = Field(min_length=1, description="Name of the model as the server knows it.")
    api_key_env: str | None = Field(
        default=None, pattern=r"^[A-Za-z_]\w*$", description="Environment variable that holds the key; never the key."
    )
    timeout_seconds: float = Field(
        default=120, gt=0, description="Longest wait for a connection, for an answer to begin, and for it to end."
    )
    max_retries: int = Field(
        default=6, ge=0, description="Further tries after 429, 5xx, a timeout or a broken response, with backoff."
    )
    concurrency: int = Field(default=4, gt=0, le=64, description="Requests under way at once; results do not differ.")

    @field_validator("base_url")
    @classmethod
    def _is_an_address_without_secrets(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is no http:// or https:// address")
        if parts.username or parts.password or parts.query or parts.fragment:
            # A message with the value would show what should not have been written there.
            raise ValueError("holds a name, a password, a query or a fragment; name the key's variable in api_key_env")
        return value.rstrip("/")

    @property
    def label(self) -> str:
        """What rows call this generator: model and host."""
        return f"{self.model}@{urlsplit(self.base_url).netloc}"

    def identity(self) -> dict[str, Any]:
        """Return what its answers depend on."""
        return {"kind": self.kind, "base_url": self.base_url, "model": self.model}


class LocalSpec(BaseModel):
    """A model that runs here, in a process of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["local"] = "local"
    name: str = Field(
        min_length=1, description="`embedded`, a folder (relative ones start at the recipe's folder), or a hub id."
    )
    revision: str | None = Field(default=None, description="Commit of the hub repository; pin it.")
    adapter: Path | None = Field(
        default=None, description="Folder of a LoRA that was trained on this model, seen from the recipe's folder."
    )
    precision: Literal["fp32", "bf16"] = Field(default="bf16", description="Weights and compute.")
    quantization: Literal["none", "8bit", "4bit"] = Field(default="none", description="Weights of the model.")
    batch_size: int = Field(default=16, gt=0, description="Responses generated at once.")

    @model_validator(mode="after")
    def _quantization_computes_in_bfloat16(self) -> "LocalSpec":
        if self.quantization != "none" and self.precision != "bf16":
            raise ValueError(f"quantization: {self.quantization} computes in bfloat16; set precision: bf16")
        return self

    @property
    def label(self) -> str:
        """What rows call this generator, whatever folder it lies in."""
        paths = [Path(self.name), *([self.adapter] if self.adapter is not None else [])]
        return "+".join(path.name if path.is_absolute() else str(path) for path in paths)

    def identity(self) -> dict[str, Any]:
        """Return what its answers depend on, beside the digest of its weights."""
        return self.model_dump(mode="json", include={"kind", "precision", "quantization"})


GeneratorSpec = Annotated[EndpointSpec | LocalSpec, Field(discriminator="kind")]


class GenerationSpec(BaseModel):
    """What all generation has in common: the model, its terms, and when to stop."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generator: GeneratorSpec
    generator_license: License = Field(
        default=UNKNOWN,
        description="SPDX expression for what the generator writes, as you know it; terms are LicenseRef-<name>.",
    )
    check_tokens: int = Field(
        default=8,
        gt=0,
        description="Longest answer to a question of yes, no or one word; a thinking model needs 1,000.",
    )
    min_accepted: int = Field(default=1, gt=0, description="The asset fails, with the reasons, below this many rows.")
    max_requests: int = Field(default=2_000, gt=0, description="Budget of requests, those answered by the cache too.")
    max_tokens: int | None = Field(
        default=None, gt=0, description="Budget of prompt and response tokens; looked at between batches."
    )
    prompts_per_round: int = Field(default=8, gt=0, description="Prompts made before any of their answers counts.")
    min_accept_rate: float = Field(
        default=0.05, ge=0, lt=1, description="Stop when a smaller share of the last tries was accepted; 0 never does."
    )
    accept_window: int = Field(default=200, gt=0, description="How many tries min_accept_rate looks back on.")
    seed: int = Field(default=7, ge=0, description="Fixes what goes into each prompt, and is sent with each request.")


class SeedsSource(FilesSource):
    """Files of records with an `instruction`: seed tasks of Self-Instruct, alpaca, dolly."""

    name: str = "seeds"


class KeywordRules(BaseModel):
    """Instructions of one language that are not wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: tuple[str, ...] = Field(default=(), description="Words and phrases that an instruction must not hold.")
    starts: tuple[str, ...] = Field(default=(), description="Beginnings that it must not have.")


class InstructionsSpec(GenerationSpec):
    """Self-Instruct (Wang et al. 2022, arXiv 2212.10560), with the paper's values as defaults."""

    seeds: SeedsSource
    target: int = Field(default=100, gt=0, description="Stop at this many rows, at the end of a round.")
    human_examples: int = Field(default=6, gt=0, description="Seeds in each prompt for new instructions.")
    machine_examples: int = Field(
        default=2, ge=0, description="Instructions of the generator in each prompt; seeds until there are enough."
    )
    new_per_prompt: int = Field(default=8, gt=0, description="Instructions asked for in one prompt.")
    max_instances: int = Field(default=3, gt=0, description="Instances asked for of one instruction; each is a row.")
    max_rouge: float = Field(
        default=0.7, gt=0, le=1, description="An instruction this similar (ROUGE-L F1) to one of the pool is rejected."
    )
    min_words: int = Field(default=4, gt=0, description="Fewest words of an instruction.")
    max_words: int = Field(default=150, gt=0, description="Most words of an instruction.")
    keyword_rules: dict[str, KeywordRules] = Field(
        default={"en": KeywordRules(words=_ENGLISH_WORDS, starts=("write a program",))},
        description="Rules by language, all of which apply; {} applies none, a language of your own is added here.",
    )
    instruction_sampling: SamplingSpec = Field(
        default=SamplingSpec(temperature=0.7, top_p=0.5, presence_penalty=2.0, max_tokens=1024),
        description="How new instructions are drawn.",
    )
    instance_sampling: SamplingSpec = Field(default=SamplingSpec(), description="How inputs and outputs are drawn.")

    @model_validator(mode="after")
    def _some_length_is_allowed(self) -> "InstructionsSpec":
        if self.min_words > self.max_words:
            raise ValueError(f"min_words is {self.min_words} and max_words {self.max_words}; no length is allowed")
        return self


class GroundedSpec(GenerationSpec):
    """Questions and answers about chunks of the lane's corpus, kept where the chunk says what the answer says."""

    target: int = Field(default=500, gt=0, description="Stop at this many rows, at the end of a round.")
    chunk_tokens: int = Field(default=256, ge=16, description="Longest chunk, in tokens of the base model.")
    min_chunk_words: int = Field(default=20, gt=0, description="Shorter chunks are not asked about.")
    max_chunks: int = Field(default=2_000, gt=0, description="Chunks that may be asked about, drawn by hash.")
    max_chunks_per_document: int = Field(default=4, gt=0, description="Of these, from one document.")
    max_question_words: int = Field(default=60, gt=0, description="Most words of a question.")
    span_words: int = Field(default=3, gt=0, description="Fewest consecutive words that count as said by the chunk.")
    min_span_overlap: float = Field(
        default=0.6, ge=0, le=1, description="Least share of an answer's words that lie in such spans of the chunk."
    )
    question_sampling: SamplingSpec = Field(
        default=SamplingSpec(temperature=0.7, top_p=0.9, max_tokens=96), description="How questions are drawn."
    )
    answer_sampling: SamplingSpec = Field(default=SamplingSpec(max_tokens=256), description="How answers are drawn.")
