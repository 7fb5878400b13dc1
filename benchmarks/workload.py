"""What all subjects train on: a tiny Qwen2 with random weights, a start adapter, the same rows in each one's format.

Texts are Python's own documentation, cut to lengths drawn from log-normal distributions. Medians and spreads of SFT
rows are those of a public set (alpaca_en_demo of LLaMA-Factory), at 3.3 characters per token; the pairs are like
dpo_en_demo, a third as long, so that they fit the context. A run sees each row once: tokens per step do not depend on
the order.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Stage = Literal["cpt", "sft", "dpo"]
STAGES: tuple[Stage, ...] = ("cpt", "sft", "dpo")
SEED = 7
START_ADAPTER, BASE = "start_adapter", "base"
# Median in tokens, and sigma of the natural logarithm.
_SFT_PROMPT, _SFT_ANSWER = (20, 0.55), (140, 1.0)
_DPO_PROMPT, _DPO_ANSWER = (80, 1.2), (150, 0.6)
# What the chat template adds, and some room for a text that is tokenized in another way than it was cut.
_TEMPLATE_TOKENS = 40


@dataclass(frozen=True)
class Sizes:
    """The shape of the model and of a step. `vocabulary`, `length` and `batch` count tokens, tokens and rows."""

    hidden: int = 256
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    intermediate: int = 1024
    vocabulary: int = 2048
    length: int = 512
    batch: int = 8
    steps: int = 25
    lora_r: int = 16
    lora_alpha: int = 32
    learning_rate: float = 1e-3
    beta: float = 0.1

    @property
    def rows(self) -> int:
        """Rows (pairs for DPO) of a run."""
        return self.batch * self.steps


@dataclass(frozen=True)
class Workload:
    """A folder with the model, the start adapter and a folder of rows per stage, and the facts about them."""

    folder: Path
    sizes: Sizes
    facts: dict[str, dict[str, float]]

    @property
    def base(self) -> Path:
        return self.folder / BASE

    @property
    def adapter(self) -> Path:
        return self.folder / START_ADAPTER

    def rows(self, stage: Stage) -> Path:
        """Return the prepared rows of `stage`, as the worker reads them."""
        return self.folder / stage / "rows"

    def set_file(self, stage: Stage) -> Path:
        """Return the JSON Lines that the rows were made from."""
        return self.folder / stage / "set" / "train.jsonl"

    def trl_rows(self, stage: Stage) -> Path:
        """Return the folder that the trl CLI reads: token ids, or messages for DPO, which it tokenizes itself."""
        return self.folder / stage / "trl"

    def llamafactory_rows(self, stage: Stage) -> Path:
        """Return the folder that LLaMA-Factory reads as `tokenized_path`."""
        return self.folder / stage / "llamafactory"


def make_workload(folder: Path, sizes: Sizes) -> Workload:
    """Write everything that the subjects read to `folder`, or return what is there for the same sizes.

    Imports torch and the trainers' libraries; takes half a minute.
    """
    done = folder / "workload.json"
    wanted = asdict(sizes)
    if done.is_file() and (found := json.loads(done.read_text(encoding="utf-8")))["sizes"] == wanted:
        return Workload(folder, sizes, found["facts"])
    texts = list(_documentation())
    tokenizer = _write_tokenizer(folder / BASE, texts, sizes)
    _write_models(folder, tokenizer, sizes)
    workload = Workload(folder, sizes, {})
    ids = tokenizer("\n\n".join(texts), add_special_tokens=False, verbose=False)["input_ids"]
    slices = _Slices(tokenizer, ids)
    _write_cpt(workload, ids)
    _write_set(workload.set_file("sft"), (_conversation(slices, sizes) for _ in range(sizes.rows)))
    _write_set(workload.set_file("dpo"), (_pair(slices, sizes) for _ in range(sizes.rows)))
    for stage in ("sft", "dpo"):
        _prepare(workload, stage)
    facts = {stage: _hand_out(workload, stage) for stage in STAGES}
    done.write_text(json.dumps({"sizes": wanted, "facts": facts}, indent=2), encoding="utf-8")
    return Workload(folder, sizes, facts)


def _documentation() -> Iterator[str]:
    from llmops_assets.data.sources.python_topics import read_python_topics
    from llmops_assets.data.sources.specs import PythonTopicsSource

    return (document.text for document in read_python_topics(PythonTopicsSource(name="topics")))


def _write_tokenizer(folder: Path, texts: list[str], sizes: Sizes) -> Any:
    from llmops_assets.training.tokenizer_training import train_tokenizer

    tokenizer = train_tokenizer(texts, sizes.vocabulary, 4 * sizes.length)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _write_models(folder: Path, tokenizer: Any, sizes: Sizes) -> None:
    """Write the base, and a LoRA whose B is zero: the function of the base, and the same A for every subject."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

    from llmops_assets.training.specs import LORA_TARGETS

    torch.manual_seed(SEED)
    config = Qwen2Config(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.intermediate,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_value_heads,
        max_position_embeddings=4 * sizes.length,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder / BASE)
    model = AutoModelForCausalLM.from_pretrained(folder / BASE, dtype=torch.float32)
    # The trl CLI draws its own LoRA; seeded here and there alike, it draws this one.
    torch.manual_seed(SEED)
    lora = LoraConfig(
        r=sizes.lora_r, lora_alpha=sizes.lora_alpha, target_modules=list(LORA_TARGETS), task_type="CAUSAL_LM"
    )
    get_peft_model(model, lora).save_pretrained(str(folder / START_ADAPTER))


class _Slices:
    """Pieces of a text, one after the other, of lengths drawn from log-normal distributions."""

    def __init__(self, tokenizer: Any, ids: list[int]) -> None:
        self._tokenizer, self._ids = tokenizer, ids
        self._next = 0
        self._random = random.Random(SEED)

    def draw(self, median: int, sigma: float, at_most: int) -> tuple[str, int]:
        """Return a text and its length, which is 1 to `at_most` tokens."""
        length = max(1, min(at_most, int(self._random.lognormvariate(0, sigma) * median)))
        if self._next + length > len(self._ids):
            self._next = 0
        taken = self._ids[self._next : self._next + length]
        self._next += length
        return str(self._tokenizer.decode(taken)).strip() or "...", length


def _conversation(slices: _Slices, sizes: Sizes) -> dict[str, Any]:
    room = sizes.length - _TEMPLATE_TOKENS
    prompt, used = slices.draw(*_SFT_PROMPT, room // 4)
    answer, _ = slices.draw(*_SFT_ANSWER, room - used)
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def _pair(slices: _Slices, sizes: Sizes) -> dict[str, Any]:
    room = sizes.length - _TEMPLATE_TOKENS
    prompt, used = slices.draw(*_DPO_PROMPT, room // 2)
    (chosen, _), (rejected, _) = (slices.draw(*_DPO_ANSWER, room - used) for _ in range(2))
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


def _write_set(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _write_cpt(workload: Workload, ids: list[int]) -> None:
    """Write rows of exactly `length` tokens of one document each: the peers do not agree on masks between documents."""
    from llmops_assets.training.preparation.arrow_rows import COUNTS_FILE, TOKENS, TRAIN_FILE, write_rows

    sizes, folder = workload.sizes, workload.rows("cpt")
    repeats = -(-sizes.rows * sizes.length // len(ids))
    stream = (ids * repeats)[: sizes.rows * sizes.length]
    chunks = [stream[start : start + sizes.length] for start in range(0, len(stream), sizes.length)]
    rows = [{"input_ids": chunk, "labels": chunk, "seq_lengths": [len(chunk)]} for chunk in chunks]
    write_rows(folder / TRAIN_FILE, rows, {"input_ids": TOKENS, "labels": TOKENS, "seq_lengths": TOKENS})
    counts = {"train_rows": len(rows), "train_tokens": len(stream)}
    (folder / COUNTS_FILE).write_text(json.dumps(counts), encoding="utf-8")


def _prepare(workload: Workload, stage: Stage) -> None:
    from llmops_assets.training.preparation.job import PreparationJob, PreparationSpec
    from llmops_assets.training.preparation.prepare import prepare

    spec = PreparationSpec(stage=stage, max_length=workload.sizes.length, validation_share=0.0, long_rows="error")
    prepare(
        PreparationJob(
            asset=f"{stage}_rows",
            spec=spec,
            base_model=base_ref(workload),
            set_file=workload.set_file(stage),
            output_dir=workload.rows(stage),
        )
    )


def base_ref(workload: Workload) -> Any:
    """Return the base as a job names it."""
    from llmops_assets.training.digests import weights_digest
    from llmops_assets.training.job import BaseModelRef

    return BaseModelRef(name=str(workload.base), digest=weights_digest(workload.base))


def _hand_out(workload: Workload, stage: Stage) -> dict[str, float]:
    """Write the prepared rows of `stage` in the peers' formats and return what a step of them holds."""
    from datasets import Dataset, DatasetDict

    from llmops_assets.training.preparation.arrow_rows import read_rows

    rows: list[dict[str, Any]] = [dict(row) for row in read_rows(workload.rows(stage))]  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert len(rows) == workload.sizes.rows, f"{stage}: {len(rows)} rows instead of {workload.sizes.rows}"
    columns = _pair_columns if stage == "dpo" else _row_columns
    peers = Dataset.from_list([columns(row) for row in rows])
    DatasetDict({"train": peers}).save_to_disk(str(workload.llamafactory_rows(stage)))
    trl = workload.trl_rows(stage) / "train.jsonl"
    if stage == "dpo":
        trl.parent.mkdir(parents=True, exist_ok=True)
        trl.write_bytes(workload.set_file(stage).read_bytes())
        lengths = [len(row["prompt_ids"]) + len(row[side]) for row in rows for side in ("chosen_ids", "rejected_ids")]
    else:
        _write_set(trl, ({"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows))
        lengths = [len(row["input_ids"]) for row in rows]
    prompts = [len(row["prompt_ids"]) for row in rows] if stage == "dpo" else []
    padded = _padded(lengths, workload.sizes.batch * (2 if stage == "dpo" else 1))
    return {
        "tokens_per_step": sum(lengths) / workload.sizes.steps,
        "padding_share": 1 - sum(lengths) / padded,
        "mean_length": sum(lengths) / len(lengths),
        "longest": float(max(lengths)),
        "mean_prompt": sum(prompts) / len(prompts) if prompts else 0.0,
    }


def _padded(lengths: list[int], batch: int) -> int:
    batches = [lengths[start : start + batch] for start in range(0, len(lengths), batch)]
    return sum(max(batch) * len(batch) for batch in batches)


def _row_columns(row: dict[str, Any]) -> dict[str, Any]:
    return {"input_ids": row["input_ids"], "attention_mask": [1] * len(row["input_ids"]), "labels": row["labels"]}


def _pair_columns(row: dict[str, Any]) -> dict[str, Any]:
    # LLaMA-Factory's collator of pairs reads the columns of media too.
    columns: dict[str, Any] = {"images": None, "videos": None, "audios": None}
    for side in ("chosen", "rejected"):
        prompt, answer = row["prompt_ids"], row[f"{side}_ids"]
        columns[f"{side}_input_ids"] = prompt + answer
        columns[f"{side}_attention_mask"] = [1] * len(prompt + answer)
        columns[f"{side}_labels"] = [-100] * len(prompt) + answer
    return columns
