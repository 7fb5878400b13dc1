"""DPO's reference policy is the parent adapter, and the common mistake is caught."""

from pathlib import Path

import pytest
from peft import LoraConfig
from trl.trainer.dpo_trainer import DPOTrainer

from llmops_assets.training import dpo
from llmops_assets.training.job import BaseModelRef, TrainingJob, TrainingResult
from llmops_assets.training.model import load_adapter, load_base_model, load_tokenizer
from llmops_assets.training.reference import (
    MissingParent,
    WrongReference,
    check_reference,
    parent_policy,
    reference_weights_digest,
)

from .conftest import Files, adapter_ref, make_job, run_to_result

Run = tuple[TrainingJob, TrainingResult]


def test_reference_of_a_zero2_run_is_the_parent_by_weights_and_by_log_probs(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    job = make_job(tmp_path, base, files.dpo, {"stage": "dpo", "backend": "zero2"}, adapter_ref(sft_zero2[0]))
    result = run_to_result(job)
    evidence = result.reference
    assert evidence is not None
    assert evidence["weights_sha256"] == evidence["parent_weights_sha256"]
    assert float(evidence["log_prob_difference_to_parent"]) < 1e-3
    # The parent must differ from the base, or the comparison above would show nothing.
    assert float(evidence["log_prob_difference_parent_to_base"]) > 0.1
    assert result.adapter_sha256 != sft_zero2[1].adapter_sha256


def test_new_adapter_on_the_bare_base_is_caught_though_its_first_loss_is_ln_2(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    job = make_job(tmp_path, base, files.dpo, {"stage": "dpo", "backend": "plain"}, adapter_ref(sft_zero2[0]))
    tokenizer = load_tokenizer(base)
    rows = dpo.load_rows(job, tokenizer)
    parent = parent_policy(job, tokenizer, rows)
    naive = DPOTrainer(
        model=load_base_model(base, "fp32"),
        args=dpo.training_arguments(job),
        train_dataset=rows.train,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    with pytest.raises(WrongReference, match="no reference adapter"):
        reference_weights_digest(naive.model)  # type: ignore[arg-type]
    with pytest.raises(WrongReference, match="log-probs differ"):
        check_reference(naive, parent, parent.weights_sha256, "fp32")


def test_reference_with_changed_weights_is_caught(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    ref = adapter_ref(sft_zero2[0])
    job = make_job(tmp_path, base, files.dpo, {"stage": "dpo", "backend": "plain"}, ref)
    tokenizer = load_tokenizer(base)
    rows = dpo.load_rows(job, tokenizer)
    parent = parent_policy(job, tokenizer, rows)
    model = load_adapter(load_base_model(base, "fp32"), ref, base, continued_by=job.spec)
    trainer = dpo.build_trainer(model, tokenizer, rows, dpo.training_arguments(job))
    digest = reference_weights_digest(model)
    assert check_reference(trainer, parent, digest, "fp32")["weights_sha256"] == digest

    changed = next(weight for name, weight in model.named_parameters() if ".ref." in name and "lora_B" in name)
    changed.data[0, 0] += 1e-3
    with pytest.raises(WrongReference, match="are not the parent's"):
        check_reference(trainer, parent, reference_weights_digest(model), "fp32")


def test_dpo_without_a_parent_is_refused(base: BaseModelRef, files: Files, tmp_path: Path) -> None:
    job = make_job(tmp_path, base, files.dpo, {"stage": "dpo", "backend": "plain"})
    tokenizer = load_tokenizer(base)
    with pytest.raises(MissingParent, match="sft stage"):
        parent_policy(job, tokenizer, dpo.load_rows(job, tokenizer))
