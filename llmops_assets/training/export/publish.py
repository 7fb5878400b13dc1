"""An adapter to serve beside its base: bfloat16 weights, float32 masters, and nothing of the training around them."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from llmops_assets.errors import LlmopsError
from llmops_assets.training.adapter_files import WEIGHTS_FILE, verify_adapter, write_adapter
from llmops_assets.training.export.job import ExportJob
from llmops_assets.training.export.servable import max_lora_rank, servable_problems
from llmops_assets.training.model import DTYPES

MASTERS = "masters"


class NotServable(LlmopsError):
    """An adapter that no server would load, or that would be served as another function than it is."""


def publish_adapter(job: ExportJob, folder: Path) -> int:
    """Write `job.adapter` into `folder` in the precision of the job, its float32 masters into `masters/` under it.

    Only the root adapter's two files are read: whatever else lies in its folder, the `ref/` that ZeRO-3 writes with
    trained weights under it included, is left behind. Returns vLLM's --max-lora-rank.

    Raises:
        NotServable: with every reason; also for an adapter that was trained over merged ones if no base is named.
        WrongBase, CorruptAdapter: the adapter is not what its reference says.
    """
    ref = job.adapter
    config = verify_adapter(ref, job.base_model)
    tensors = root_adapter(load_file(ref.path / WEIGHTS_FILE), ref.path)
    problems = servable_problems(config, tensors)
    if ref.merged and job.served_base is None:
        problems.append(
            f"it was trained over {len(ref.merged)} adapters that were merged into {job.base_model.name}, so it is "
            "wrong beside the plain base: export with --merge, or name the merged model below it with --served-base"
        )
    rank = max_lora_rank(int(config["r"]))
    if problems or rank is None:
        raise NotServable(f"{job.name} cannot be served as an adapter: {'; '.join(problems)}")
    config = config | served_origin(job)
    served = {name: tensor.to(DTYPES[job.precision]) for name, tensor in tensors.items()}
    write_adapter(folder, served, config)
    write_adapter(folder / MASTERS, {name: tensor.float() for name, tensor in tensors.items()}, config)
    return rank


def root_adapter(tensors: dict[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Return the tensors under the names that PEFT's files have, without `.default.`, the name of a loaded adapter.

    Raises NotServable for the tensors of a second adapter, such as `ref`, or a name that then occurs twice.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        mended = name.replace(".default.", ".")
        if mended in named:
            raise NotServable(f"{source}: holds {mended} twice, with and without `.default.`; materialize it again")
        if not mended.endswith((".lora_A.weight", ".lora_B.weight")) and ".lora_" in mended:
            raise NotServable(f"{source}: {name} belongs to a second adapter; publish the root adapter alone")
        named[mended] = tensor
    return named


def served_origin(job: ExportJob) -> dict[str, Any]:
    """Return the base of a served adapter as its adapter_config.json names it: nothing of this machine's folders."""
    if job.served_base is not None:
        return {"base_model_name_or_path": job.served_base, "revision": None}
    base = Path(job.base_model.name)
    name = base.name if base.is_dir() else job.base_model.name
    return {"base_model_name_or_path": name, "revision": job.base_model.revision}
