"""What `llmops plan` prints of a stage that trains all weights."""

import json
from pathlib import Path

from llmops_assets.recipe import load_recipe
from llmops_assets.resources.memory_plan import plan_lines
from llmops_assets.training.specs import SftSpec
from llmops_assets_tests.training.memory.qwen import QWEN_1_5B_CONFIG

RECIPE = Path(__file__).parents[2] / "configs" / "recipes" / "python_docs.yaml"


def test_full_fine_tuning_is_planned_without_a_lora_or_quantised_weights(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(QWEN_1_5B_CONFIG))
    full = SftSpec(max_steps=1, learning_rate=1e-5, finetuning="full", batch_size=8, max_length=2048)
    recipe = load_recipe(RECIPE).model_copy(update={"sft": full})
    lines = list(plan_lines(recipe, gpu="40GB", gpus=1, stage="sft", config=config))
    text = "\n".join(lines)
    assert "all weights, activation_checkpointing false" in text
    assert "LoRA" not in text
    assert text.count("refused") == 8
    assert "These changes fit: activation_checkpointing: true" in text
