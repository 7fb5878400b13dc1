"""Memory estimates in words: the table of `llmops plan`, and the sentence of a stage that does not fit."""

import re

from llmops_assets.errors import LlmopsError
from llmops_assets.training.memory.advice import changed_spec, proposals
from llmops_assets.training.memory.estimate import GIB, Estimate, estimate
from llmops_assets.training.memory.shapes import ModelShape
from llmops_assets.training.specs import AnyStageSpec

_UNITS = {"GB": 10**9, "GIB": GIB, "MB": 10**6, "MIB": 1024**2}


class BadSize(LlmopsError):
    """A memory size that cannot be read."""


def parse_size(text: str) -> int:
    """Return the bytes of a size such as `24GB` (10^9) or `80GiB` (2^30). Raises BadSize."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([GM]i?B)\s*", text, re.IGNORECASE)
    if match is None or float(match[1]) == 0:
        raise BadSize(f"{text!r} is no memory size; write it as 24GB, 80GiB or auto")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def gigabytes(size: float) -> str:
    """Return bytes as GB (10^9) with one digit; small sizes as MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def lines_table(found: Estimate) -> str:
    """Return an estimate as one line per cause, with the total at the end."""
    rows = [(line.name, gigabytes(line.bytes)) for line in found.lines]
    rows.append(("total per GPU", gigabytes(found.total)))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {size:>9}" for name, size in rows)


def backend_matrix(spec: AnyStageSpec, shape: ModelShape, available: float) -> str:
    """Return a table of ZeRO stage by quantization with the total per GPU; `+` fits in `available` bytes, `-` does not.

    ZeRO 0 is `ddp`, or `plain` for one rank. A stage in fp32 is shown in bf16 where it is quantised. What a recipe
    refuses is shown as such: quantised weights under ZeRO-3, or where all weights are trained.
    """
    names = ("none", "8bit", "4bit")
    rows = ["  ".join(["ranks x" + str(spec.num_processes), *(f"{name:>11}" for name in names)])]
    whole = "plain" if spec.num_processes == 1 else "ddp"
    for backend in (whole, "zero1", "zero2", "zero3"):
        cells = []
        for name in names:
            precision = spec.precision if name == "none" else "bf16"
            updates = {"backend": backend, "quantization": name, "precision": precision}
            if (changed := changed_spec(spec, updates)) is None:
                cells.append(f"{'refused':>9}  ")
                continue
            total = estimate(changed, shape).total
            cells.append(f"{gigabytes(total):>9} {'+' if total <= available else '-'}")
        rows.append("  ".join([f"{backend:<8}", *cells]))
    return "\n".join(f"  {row}" for row in rows)


def shortage(spec: AnyStageSpec, shape: ModelShape, available: float, gpus: int, *, where: str) -> str:
    """Return the sentences for a stage that does not fit: needed and present, the largest lines, what would fit.

    `available` is in bytes per GPU, `gpus` how many could be ranks, `where` names the GPU.
    """
    found = estimate(spec, shape)
    largest = ", ".join(f"{line.name} {gigabytes(line.bytes)}" for line in found.largest(3))
    return (
        f"stage {spec.stage} needs about {gigabytes(found.total)} of memory on each GPU, {where} has "
        f"{gigabytes(available)}; largest: {largest}. {advice(spec, shape, available, gpus)}"
    )


def advice(spec: AnyStageSpec, shape: ModelShape, available: float, gpus: int) -> str:
    """Return the sentence that names the changes with which the stage would fit, or that none would."""
    found = proposals(spec, shape, available, gpus)
    if not found:
        return "No change of the recipe makes it fit; use a larger GPU, more of them, or a smaller base model."
    sets = "; or ".join(f"{proposal} ({gigabytes(proposal.needed)})" for proposal in found)
    note = ""
    if any({"lora_r", "lora_targets"} & proposal.updates.keys() for proposal in found):
        note = " A change of the LoRA belongs in every stage of the recipe, since a continued adapter keeps its shape."
    return f"These changes fit: {sets}.{note}"
