"""Shapes from a config.json: parameter counts are those of the real models, and what cannot be read is said."""

import json
from pathlib import Path

import pytest

from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.memory.shapes import UnknownShape, shape_of_base, shape_of_config, shape_of_file

from .models import model, shape


@pytest.mark.parametrize("family", ["qwen2", "llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_parameter_count_is_that_of_the_real_model(family: str, tied: bool) -> None:
    real = model(family, tied=tied)
    assert shape(family, tied=tied).parameters == sum(p.numel() for p in real.parameters())


def test_qwen3_has_norms_on_queries_and_keys_and_a_head_size_of_its_own() -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=400,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=True,
    )
    expected = sum(p.numel() for p in Qwen3ForCausalLM(config).parameters())
    assert shape_of_config(config.to_dict(), "test").parameters == expected


def test_base_model_folder_is_read(base: BaseModelRef) -> None:
    assert shape_of_base(base.name, base.revision).hidden == 48


def test_hub_model_is_read_from_the_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "a" * 40
    missing = BaseModelRef(name="someone/model", revision=commit, digest="x")
    with pytest.raises(UnknownShape, match=r"someone/model at aaaa.*hf download.*--config"):
        shape_of_base(missing.name, missing.revision)
    snapshot = tmp_path / "models--someone--model" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(model("llama").config.to_dict()))
    assert shape_of_base(missing.name, missing.revision).family == "llama"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{broken", "cannot be read"),
        ("[]", "no JSON object"),
        ('{"model_type": "mamba"}', "model_type: mamba; estimates exist for llama, mistral"),
        ('{"model_type": "llama", "hidden_size": 8}', "num_attention_heads"),
    ],
)
def test_useless_config_is_named(tmp_path: Path, content: str, complaint: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(content)
    with pytest.raises(UnknownShape, match=complaint) as caught:
        shape_of_file(file)
    assert str(file) in str(caught.value)
