"""Base model, tokenizer and LoRA: the only place where they are loaded or made."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from llmops_assets.errors import LlmopsError
from llmops_assets.training.adapter_files import CorruptAdapter, check_shape, verify_adapter
from llmops_assets.training.digests import weights_digest
from llmops_assets.training.specs import AdapterRef, BaseModelRef, StageSpec

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ADAPTER = "default"


class BaseModelUnavailable(LlmopsError):
    """The base model or its tokenizer cannot be loaded, or its weights are not those that the job names."""


def load_base_model(ref: BaseModelRef, precision: str) -> PreTrainedModel:
    """Load the base model in `precision` ("fp32" or "bf16") on the CPU; the trainer places it.

    Only safetensors are read and code from a repository is never run. A local folder's weights must have `ref.digest`.

    Raises BaseModelUnavailable.
    """
    if (folder := Path(ref.name)).is_dir() and (found := weights_digest(folder)) != ref.digest:
        raise BaseModelUnavailable(
            f"base model {folder}: weights digest is {found[:16]}, the job expects {ref.digest[:16]}; the folder was "
            "changed after the job was made, start the job again"
        )
    try:
        return AutoModelForCausalLM.from_pretrained(
            ref.name, dtype=DTYPES[precision], use_safetensors=True, **_origin(ref)
        )
    except (OSError, ValueError) as error:
        raise BaseModelUnavailable(_unavailable(ref, "base model", error)) from error


def load_tokenizer(ref: BaseModelRef) -> PreTrainedTokenizerBase:
    """Load the base model's tokenizer; one without a pad token pads with its end-of-sequence token.

    Raises BaseModelUnavailable.
    """
    if (folder := Path(ref.name)).is_dir() and not (folder / "tokenizer.json").is_file():
        # transformers would return an empty tokenizer of the model's class, without a word.
        raise BaseModelUnavailable(f"tokenizer of {folder} cannot be loaded: no tokenizer.json in the folder; add it")
    try:
        tokenizer = AutoTokenizer.from_pretrained(ref.name, **_origin(ref))
    except (OSError, ValueError) as error:
        raise BaseModelUnavailable(_unavailable(ref, "tokenizer", error)) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def new_adapter(model: PreTrainedModel, spec: StageSpec, *, fp32: bool = True) -> PeftModel:
    """Wrap `model` with a fresh LoRA (Hu et al. 2021, arXiv 2106.09685) drawn from `spec.seed`.

    `fp32` keeps the LoRA in float32 over a bfloat16 base; ZeRO-3 needs one dtype for all parameters.
    """
    config = LoraConfig(
        r=spec.lora_r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules=sorted(spec.lora_targets),
        task_type="CAUSAL_LM",
    )
    set_seed(spec.seed)
    wrapped = get_peft_model(model, config, autocast_adapter_dtype=fp32)
    assert isinstance(wrapped, PeftModel)
    return wrapped


def load_adapter(
    model: PreTrainedModel,
    ref: AdapterRef,
    base: BaseModelRef,
    *,
    continued_by: StageSpec | None = None,
    fp32: bool = True,
) -> PeftModel:
    """Put the adapter `ref` on `model`: trainable if a stage continues it, frozen otherwise.

    Raises WrongBase, CorruptAdapter and, if `continued_by` asks for another LoRA, WrongAdapterShape.
    """
    saved = verify_adapter(ref, base)
    config = LoraConfig.from_pretrained(str(ref.path))
    if not isinstance(config, LoraConfig):
        raise CorruptAdapter(
            f"{ref.path}: a {config.peft_type} adapter, this project trains LoRA; choose another parent"
        )
    config.base_model_name_or_path = base.name
    if continued_by is not None:
        check_shape(saved, continued_by, ref.path)
        config.lora_dropout = continued_by.lora_dropout
    try:
        return PeftModel.from_pretrained(
            model,
            str(ref.path),
            config=config,
            is_trainable=continued_by is not None,
            use_safetensors=True,
            autocast_adapter_dtype=fp32,
        )
    except (RuntimeError, KeyError, ValueError) as error:
        raise CorruptAdapter(
            f"adapter {ref.path} does not fit base {base.name}: {str(error).splitlines()[0]}; materialize it again"
        ) from error


def adapter_config(model: PeftModel, base: BaseModelRef) -> dict[str, Any]:
    """Return the adapter_config.json of the trained adapter, without anything of the machine that trained it."""
    config = {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in model.peft_config[ADAPTER].to_dict().items()
    }
    folder = Path(base.name)
    origin = {"base_model_name_or_path": folder.name if folder.is_dir() else base.name, "revision": base.revision}
    return config | origin | {"inference_mode": True}


def _origin(ref: BaseModelRef) -> dict[str, Any]:
    local = Path(ref.name).is_dir()
    return {
        "revision": "main" if local or ref.revision is None else ref.revision,
        "local_files_only": local,
        "trust_remote_code": False,
    }


def _unavailable(ref: BaseModelRef, what: str, error: Exception) -> str:
    where = ref.name if ref.revision is None else f"{ref.name} at {ref.revision}"
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    hint = "check base_model in the recipe, and HF_HUB_OFFLINE for a hub model"
    return f"{what} {where} cannot be loaded: {first}; {hint}"
