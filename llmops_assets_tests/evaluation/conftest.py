"""A tiny random model of the embedded architecture, with the embedded tokenizer and a random adapter."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

import llmops_assets.base_model
from llmops_assets.evaluation.model import Policy, load_policy
from llmops_assets.training.digests import file_sha256, weights_digest
from llmops_assets.training.job import AdapterRef, BaseModelRef

EMBEDDED = Path(llmops_assets.base_model.__file__).parent / "apidocs_qwen2"
CONTEXT = 128


@dataclass(frozen=True)
class TinyModel:
    """A base folder and an adapter folder, as a job names them."""

    base: BaseModelRef
    adapter: AdapterRef


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    base, adapter = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("adapter")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(EMBEDDED / name, base / name)
    torch.manual_seed(3)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(AutoTokenizer.from_pretrained(base)),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            initializer_range=0.3,
        )
    )
    model.save_pretrained(base)
    digest = weights_digest(base)
    targets = ["q_proj", "v_proj", "down_proj"]
    get_peft_model(
        model, LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    ).save_pretrained(str(adapter))
    sha256 = file_sha256(adapter / "adapter_model.safetensors")
    return TinyModel(
        BaseModelRef(name=str(base), digest=digest), AdapterRef(path=adapter, sha256=sha256, base_digest=digest)
    )


@pytest.fixture(scope="session")
def policy(tiny_model: TinyModel) -> Policy:
    return load_policy(tiny_model.base, tiny_model.adapter)


@pytest.fixture(scope="session")
def base_policy(tiny_model: TinyModel) -> Policy:
    return load_policy(tiny_model.base, None)
