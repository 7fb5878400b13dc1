"""Base model, tokenizer and LoRA: the only place where they are loaded or made."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from llmops_assets.errors import LlmopsError
from llmops_assets.training.adapter_files import WEIGHTS_FILE, CorruptAdapter, check_targets, verify_adapter
from llmops_assets.training.digests import weights_digest
from llmops_assets.training.job import AdapterRef, BaseModelRef
from llmops_assets.training.rank_change import grow_rank
from llmops_assets.training.specs import StageSpec

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ADAPTER = "default"


class BaseModelUnavailable(LlmopsError):
    """The base model or its tokenizer cannot be loaded, or its weights are not those that the job names."""


class QuantizationUnavailable(LlmopsError):
    """A quantised base is asked for, but bitsandbytes is not installed."""


class UnknownLoraTargets(LlmopsError):
    """`lora_targets` names layers that the base model does not have."""


def load_base_model(
    ref: BaseModelRef, precision: str, quantization: str = "none", attention: str = "sdpa"
) -> PreTrainedModel:
    """Load the base model in `precision` ("fp32" or "bf16") on the CPU; the trainer places it.

    `attention` is an implementation that transformers knows by this name.

    `quantization` turns the linear layers of its blocks into LLM.int8 ("8bit", arXiv 2208.07339) or into NF4 with
    double quantisation ("4bit", QLoRA, arXiv 2305.14314), and then loads them on the rank's own device.

    Only safetensors are read and code from a repository is never run. A local folder's weights must have `ref.digest`.

    Raises BaseModelUnavailable and QuantizationUnavailable.
    """
    if (folder := Path(ref.name)).is_dir() and (found := weights_digest(folder)) != ref.digest:
        raise BaseModelUnavailable(
            f"base model {folder}: weights digest is {found[:16]}, the job expects {ref.digest[:16]}; the folder was "
            "changed after the job was made, start the job again"
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(
            ref.name,
            dtype=DTYPES[precision],
            attn_implementation=attention,
            use_safetensors=True,
            **_origin(ref),
            **_quantized(quantization),
        )
    except (OSError, ValueError) as error:
        raise BaseModelUnavailable(_unavailable(ref, "base model", error)) from error
    quantized: list[Any] = [module for module in model.modules() if type(module).__name__ == "Linear4bit"]
    for linear in quantized:
        # On CPUs with AVX512-BF16, bitsandbytes 0.50 would repack weights in place when they are first evaluated;
        # layers with a bias cannot be trained after that.
        linear.support_avx512bf16_for_cpu = False
    return model


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

    Raises UnknownLoraTargets.
    """
    _require_layers(model, spec.lora_targets)
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
        check_targets(saved, continued_by, ref.path)
        config.lora_dropout = continued_by.lora_dropout
        if (config.r, config.lora_alpha) != (continued_by.lora_r, continued_by.lora_alpha):
            return _grown(model, ref, saved, config, continued_by, fp32=fp32)
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


def _require_layers(model: PreTrainedModel, targets: Sequence[str]) -> None:
    # PEFT is content with one entry that matches: the layers of all others would stay untrained without a word.
    names = [name for name, _ in model.named_modules()]
    missing = [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in names)]
    if not missing:
        return
    output = model.get_output_embeddings()
    layers = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if ("Linear" in type(module).__name__ or type(module).__name__ == "Conv1D") and module is not output
    }
    raise UnknownLoraTargets(
        f"lora_targets: {', '.join(missing)} matches no layer of {type(model).__name__}; its linear layers are "
        f"{', '.join(sorted(layers)) or 'none'}. Set lora_targets in the recipe to those that shall be trained"
    )


def _grown(
    model: PreTrainedModel,
    ref: AdapterRef,
    saved: dict[str, Any],
    config: LoraConfig,
    spec: StageSpec,
    *,
    fp32: bool,
) -> PeftModel:
    """Continue a LoRA of another rank or scale as the same function."""
    tensors, _ = grow_rank(load_file(ref.path / WEIGHTS_FILE), saved, spec, ref.path)
    config.r, config.lora_alpha, config.inference_mode = spec.lora_r, spec.lora_alpha, False
    wrapped = get_peft_model(model, config, autocast_adapter_dtype=fp32)
    assert isinstance(wrapped, PeftModel)
    missing = set_peft_model_state_dict(wrapped, tensors).unexpected_keys
    if missing:
        raise CorruptAdapter(f"adapter {ref.path}: {missing[0]} is no LoRA of this base; materialize it again")
    return wrapped


@contextmanager
def adapter_kept_in_float32(model: PreTrainedModel | PeftModel, spec: StageSpec) -> Iterator[None]:
    """Undo, at the end of the block, TRL's cast of the LoRA over a quantised base to bfloat16.

    Without float32 weights, AdamW's small steps would round to nothing.
    """
    if spec.quantization == "none":
        yield
        return
    exact = {name: parameter.data for name, parameter in model.named_parameters() if parameter.requires_grad}
    yield
    for name, weights in exact.items():
        model.get_parameter(name).data = weights


def adapter_config(model: PeftModel, base: BaseModelRef) -> dict[str, Any]:
    """Return the adapter_config.json of the trained adapter, without anything of the machine that trained it."""
    config = {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in model.peft_config[ADAPTER].to_dict().items()
    }
    folder = Path(base.name)
    origin = {"base_model_name_or_path": folder.name if folder.is_dir() else base.name, "revision": base.revision}
    return config | origin | {"inference_mode": True}


def _quantized(quantization: str) -> dict[str, Any]:
    if quantization == "none":
        return {}
    if find_spec("bitsandbytes") is None:
        raise QuantizationUnavailable(
            f"quantization: {quantization} needs bitsandbytes; install it with `pip install -e '.[gpu]'`, or "
            "set quantization: none"
        )
    config = (
        BitsAndBytesConfig(load_in_8bit=True)
        if quantization == "8bit"
        else BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    )
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    return {"quantization_config": config, "device_map": {"": device}}


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
