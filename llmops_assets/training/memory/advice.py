"""What to change in a recipe so that a stage fits its GPU: the cheapest sets of changes, found by search."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import ValidationError

from llmops_assets.training.memory.estimate import estimate
from llmops_assets.training.memory.parameters import zero_stage
from llmops_assets.training.memory.shapes import ModelShape
from llmops_assets.training.specs import AnyStageSpec

# Shorter rows than this lose most conversations; a smaller rank than this learns little.
_SHORTEST, _SMALLEST_RANK = 256, 8
_PROPOSALS = 3


@dataclass(frozen=True)
class Change:
    """Keys of a stage that change together, with the cost of it: 1 for time only, 10 and more if results change."""

    updates: dict[str, Any]
    cost: int


@dataclass(frozen=True)
class Proposal:
    """A set of changes with which the stage fits, and the bytes that it then needs on each GPU."""

    updates: dict[str, Any]
    needed: float

    def __str__(self) -> str:
        return ", ".join(f"{key}: {_yaml(value)}" for key, value in self.updates.items())


def proposals(spec: AnyStageSpec, shape: ModelShape, available: float, gpus: int) -> list[Proposal]:
    """Return up to three sets of changes that fit in `available` bytes per GPU, the cheapest first.

    First come changes that only cost time (checkpointing; smaller micro batches with more accumulation; ZeRO; more of
    the `gpus` as ranks), then those of precision, then those of rows and of the LoRA. A set that changes all the keys
    of an earlier one is no alternative to it and left out. The list is empty if nothing fits.
    """
    found: list[Proposal] = []
    for changes in _by_cost(spec, gpus):
        updates = {key: value for change in changes for key, value in change.updates.items()}
        if any(earlier.updates.keys() <= updates.keys() for earlier in found):
            continue
        if (changed := changed_spec(spec, updates)) is None:
            continue
        needed = estimate(changed, shape).total
        if needed <= available:
            found.append(Proposal(updates, needed))
            if len(found) == _PROPOSALS:
                break
    return found


def changed_spec(spec: AnyStageSpec, updates: dict[str, Any]) -> AnyStageSpec | None:
    """Return `spec` with `updates`, or None if a recipe refuses that: 4bit under zero3, or with finetuning: full."""
    try:
        return type(spec).model_validate(spec.model_dump() | updates)
    except ValidationError:
        return None


def _by_cost(spec: AnyStageSpec, gpus: int) -> list[tuple[Change, ...]]:
    """All combinations but the unchanged spec; time-only changes never cost more than one that changes results."""
    axes = (
        list(_checkpointing(spec)),
        list(_batches(spec, gpus)),
        list(_numbers(spec)),
        list(_lengths(spec)),
        list(_loras(spec)),
    )
    combinations = (tuple(change for change in choice if change.updates) for choice in product(*axes))
    return sorted(filter(None, combinations), key=lambda changes: sum(change.cost for change in changes))


def _checkpointing(spec: AnyStageSpec) -> Iterator[Change]:
    yield Change({}, 0)
    if not spec.activation_checkpointing:
        yield Change({"activation_checkpointing": True}, 2)


def _batches(spec: AnyStageSpec, gpus: int) -> Iterator[Change]:
    """Ranks, micro batch and accumulation, with the same sequences per step; the engine shards from ZeRO-2 on.

    KTO pairs the rows of a micro batch for its KL term, so it keeps two.
    """
    rows = spec.num_processes * spec.batch_size * spec.gradient_accumulation
    smallest = 2 if spec.stage == "kto" else 1
    ranks = spec.num_processes
    while ranks <= max(gpus, spec.num_processes):
        backends = [spec.backend] if ranks == spec.num_processes else []
        if ranks > 1 and zero_stage(spec) < 3:
            backends += ["zero3"] if zero_stage(spec) == 2 else ["zero2", "zero3"]
        batch = spec.batch_size
        while batch >= smallest:
            if rows % (ranks * batch) == 0:
                for backend in backends:
                    wanted = {
                        "backend": backend,
                        "num_processes": ranks,
                        "batch_size": batch,
                        "gradient_accumulation": rows // (ranks * batch),
                    }
                    updates = {key: value for key, value in wanted.items() if value != getattr(spec, key)}
                    halvings = (spec.batch_size // batch).bit_length() - 1
                    engine = {spec.backend: 0, "zero2": 1, "zero3": 3}[backend]
                    yield Change(updates, halvings + engine + 2 * (ranks != spec.num_processes))
            batch //= 2
        ranks *= 2


def _numbers(spec: AnyStageSpec) -> Iterator[Change]:
    """Fewer bits; only weights that are frozen under a LoRA can be quantised."""
    yield Change({}, 0)
    bf16 = {} if spec.precision == "bf16" else {"precision": "bf16"}
    if bf16:
        yield Change(bf16, 10)
    if spec.finetuning == "full":
        return
    if spec.quantization == "none":
        yield Change(bf16 | {"quantization": "8bit"}, 14)
    if spec.quantization != "4bit":
        yield Change(bf16 | {"quantization": "4bit"}, 16)


def _lengths(spec: AnyStageSpec) -> Iterator[Change]:
    yield Change({}, 0)
    length, cost = spec.max_length // 2, 20
    while length >= _SHORTEST:
        yield Change({"max_length": length}, cost)
        length, cost = length // 2, cost + 10


def _loras(spec: AnyStageSpec) -> Iterator[Change]:
    """Fewer targets and a smaller rank (alpha follows, so that the scale alpha / r stays); nothing without a LoRA."""
    if spec.finetuning == "full":
        yield Change({}, 0)
        return
    small = ["q_proj", "v_proj"]
    for targets in ([], small) if set(small) < set(spec.lora_targets) else ([],):
        rank, cost = spec.lora_r, 25 if targets else 0
        while rank >= min(_SMALLEST_RANK, spec.lora_r):
            updates: dict[str, Any] = {"lora_targets": targets} if targets else {}
            if rank != spec.lora_r:
                updates |= {"lora_r": rank, "lora_alpha": max(1, spec.lora_alpha * rank // spec.lora_r)}
            yield Change(updates, cost)
            rank, cost = rank // 2, cost + 15


def _yaml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
