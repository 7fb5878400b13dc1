"""What a spec refuses before a process is started."""

import pytest
from pydantic import ValidationError

from llmops_assets.training.specs import DpoSpec, KtoSpec, SftSpec

DPO = {"max_steps": 1, "learning_rate": 1e-4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_dropout": 0.1}, "without dropout"),
        ({"label_smoothing": 0.1}, "label_smoothing has no effect"),
        ({"label_smothing": 0.1}, "Extra inputs"),
        ({"backend": "plain", "num_processes": 2}, "plain runs one process"),
    ],
)
def test_setting_that_would_have_no_effect_is_an_error(changes: dict, message: str) -> None:
    DpoSpec.model_validate(DPO)
    with pytest.raises(ValidationError, match=message):
        DpoSpec.model_validate(DPO | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 1}, "greater than 1"),
        ({"finetuning": "full", "backend": "zero3"}, "choose zero2"),
        (
            {"finetuning": "full", "adapter_mode": "merge_then_new", "fused_lora": False},
            "adapter_mode, fused_lora: not",
        ),
    ],
)
def test_thumbs_that_could_not_be_trained_on_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        KtoSpec.model_validate(DPO | {"stage": "kto"} | changes)


def test_sft_may_use_dropout() -> None:
    assert SftSpec.model_validate(DPO | {"lora_dropout": 0.1}).lora_dropout == 0.1
