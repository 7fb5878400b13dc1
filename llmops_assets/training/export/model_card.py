"""The README.md of an export, made of recorded facts alone."""

import json

from llmops_assets.training.export.job import ExportJob, ExportResult, Parity, StageFacts


def model_card(job: ExportJob, result: ExportResult) -> str:
    """Return the model card (Mitchell et al. 2019, arXiv 1810.03993) of an export, as the hub reads it."""
    relation = "adapter" if result.kind == "adapter" else "finetune"
    front = {"base_model": result.base_model, "base_model_relation": relation, "library_name": _library(result)}
    header = "".join(f"{key}: {json.dumps(value)}\n" for key, value in front.items())
    parts = [f"---\n{header}---\n", f"# {result.name}\n", _what_it_is(result), _stages(result.chain)]
    if result.parity is not None:
        parts.append(_parity(result.parity, result))
    parts += [_use(result), _licence(result)]
    return "\n".join(parts)


def _library(result: ExportResult) -> str:
    return "peft" if result.kind == "adapter" else "transformers"


def _what_it_is(result: ExportResult) -> str:
    what = {
        "adapter": f"A LoRA in {result.precision}, served beside its base; `masters/` holds its float32 weights.",
        "merged": f"A model in {result.precision} with the adapter merged into the weights of its base.",
        "full": f"A model in {result.precision} of which all parameters were trained.",
    }[result.kind]
    rows = {
        "base model": result.base_model,
        "revision of the base": result.base_revision or "none",
        "digest of the base": result.base_digest,
        "adapter (sha256 of its float32 weights)": result.adapter_sha256,
    }
    if result.merged:
        rows["merged below it, oldest first"] = ", ".join(result.merged)
    return f"{what}\n\n{_table(('', ''), [(key, f'`{value}`') for key, value in rows.items()])}"


def _stages(chain: tuple[StageFacts, ...]) -> str:
    if not chain:
        return "## Training\n\nNo manifest came with this adapter.\n"
    blocks = ["## Training\n"]
    for stage in chain:
        title = f"{stage.asset} {stage.version}" if stage.version else stage.asset
        blocks.append(f"### {title}\n\n{stage.stage}, {stage.mode}, `{stage.sha256}`\n")
        blocks.append(_table(("made from", "data version"), [(k, f"`{v}`") for k, v in sorted(stage.inputs.items())]))
        if stage.metrics:
            figures = [(key, f"{value:.6g}") for key, value in sorted(stage.metrics.items())]
            blocks.append(_table(("metric", "value"), figures))
    return "\n".join(blocks)


def _parity(parity: Parity, result: ExportResult) -> str:
    rows = [(key.replace("_", " "), f"{value:.6g}") for key, value in parity.model_dump().items() if value is not None]
    against = "the trained weights" if result.kind == "full" else "the base with the adapter beside it"
    return f"## Parity\n\nThese files against {against}, in float32.\n\n{_table(('figure', 'value'), rows)}"


def _use(result: ExportResult) -> str:
    if result.kind == "adapter":
        return (
            "## Use\n\n```bash\n"
            f"vllm serve {result.base_model} --enable-lora --max-lora-rank {result.max_lora_rank} "
            "--lora-modules adapter=.\n```\n"
        )
    return "## Use\n\n```bash\nvllm serve .\n```\n"


def _licence(result: ExportResult) -> str:
    return (
        f"## Licence\n\nThis is a derivative of {result.base_model}: the licence of that model binds whoever uses or "
        "passes it on, as do the licences of the data above. No licence of its own is granted here.\n"
    )


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in rows)]
    return "\n".join(lines) + "\n"
