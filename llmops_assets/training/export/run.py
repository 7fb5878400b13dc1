"""One export, top to bottom: weights, tokenizer, manifest, digests, model card."""

from pathlib import Path

from llmops_assets.errors import LlmopsError
from llmops_assets.training.export.job import EXPORT_FILE, ExportJob, ExportResult, Parity
from llmops_assets.training.export.merge import merge_model
from llmops_assets.training.export.model_card import model_card
from llmops_assets.training.export.output_folder import appearing, digests, write_tokenizer
from llmops_assets.training.export.publish import publish_adapter, served_origin
from llmops_assets.training.model import load_tokenizer


class NothingToMerge(LlmopsError):
    """A merge of a full-parameter result, which has no adapter."""


def export(job: ExportJob) -> ExportResult:
    """Write `job.output_dir` and return the content of its export.json. Equal jobs write equal bytes.

    Raises LlmopsError with a sentence for everything a user can mend; nothing is left behind then.
    """
    full = job.adapter.kind == "full"
    if full and job.merge:
        raise NothingToMerge(f"{job.name} is a whole model already: leave out --merge")
    with appearing(job.output_dir) as folder:
        rank: int | None = None
        parity: Parity | None = None
        if full or job.merge:
            parity = merge_model(job, folder)
        else:
            rank = publish_adapter(job, folder)
        write_tokenizer(load_tokenizer(job.base_model), folder)
        if job.manifest is not None:
            (folder / "manifest.json").write_text(_without_local_folder(job), encoding="utf-8")
        origin = served_origin(job)
        result = ExportResult(
            name=job.name,
            kind="full" if full else "merged" if job.merge else "adapter",
            precision=job.precision,
            base_model=origin["base_model_name_or_path"],
            base_revision=origin["revision"],
            base_digest=job.base_model.digest,
            adapter_sha256=job.adapter.sha256,
            merged=tuple(ref.sha256 for ref in job.adapter.merged),
            chain=job.chain,
            max_lora_rank=rank,
            parity=parity,
            files=digests(folder),
        )
        card = model_card(job, result)
        (folder / "README.md").write_text(card, encoding="utf-8")
        result = result.model_copy(update={"files": digests(folder)})
        (folder / EXPORT_FILE).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return result


def _without_local_folder(job: ExportJob) -> str:
    """Return the manifest; a base that was a local folder is named by its last part alone."""
    assert job.manifest is not None
    text = job.manifest.read_text(encoding="utf-8")
    base = Path(job.base_model.name)
    return text.replace(job.base_model.name, base.name) if base.is_dir() else text
