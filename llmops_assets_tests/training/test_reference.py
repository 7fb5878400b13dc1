"""DPO starts at the policy that its reference log-probs were taken from, and the common mistakes are caught."""

import json
from pathlib import Path

import pytest

from llmops_assets.training.job import BaseModelRef, TrainingJob, TrainingResult
from llmops_assets.training.preparation.arrow_rows import read_rows
from llmops_assets.training.reference.check import MissingReference, WrongReference
from llmops_assets.training.run import train

from .conftest import Files, adapter_ref, make_job, run_to_result

Run = tuple[TrainingJob, TrainingResult]
DPO = {"stage": "dpo", "backend": "plain", "max_steps": 1}


def test_zero2_run_starts_at_the_parent_by_sha256_and_by_log_probs(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    job = make_job(tmp_path, base, files.dpo, {"stage": "dpo", "backend": "zero2"}, adapter_ref(sft_zero2[0]))
    result = run_to_result(job)
    evidence = result.reference
    assert evidence is not None
    assert evidence["reference_sha256"] == sft_zero2[1].adapter_sha256
    assert float(evidence["log_prob_difference_policy_to_reference"]) < 1e-3
    # The parent must differ from the base, or the comparison above would show nothing.
    assert float(evidence["log_prob_difference_reference_to_base"]) > 0.1
    assert result.adapter_sha256 != sft_zero2[1].adapter_sha256


def test_log_probs_of_another_adapter_than_the_parent_are_refused(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    parent = adapter_ref(sft_zero2[0])
    other = make_job(tmp_path / "other", base, files.sft, {"stage": "sft", "backend": "plain", "seed": 3})
    assert train(other) is not None
    job = make_job(tmp_path / "dpo", base, files.dpo, DPO, parent, reference=adapter_ref(other))
    with pytest.raises(WrongReference, match="materialize reference_log_probs again"):
        train(job)


def test_log_probs_that_are_not_the_parents_are_caught_before_the_first_step(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    """The mistake that a first loss of ln 2 does not show: the reference is the bare base."""
    parent = adapter_ref(sft_zero2[0])
    fresh = make_job(tmp_path / "fresh", base, files.sft, {"stage": "sft", "backend": "plain", "max_steps": 1})
    fresh = fresh.model_copy(update={"spec": fresh.spec.model_copy(update={"learning_rate": 1e-12})})
    assert train(fresh) is not None
    job = make_job(tmp_path / "dpo", base, files.dpo, DPO, parent, reference=adapter_ref(fresh))
    assert job.reference_log_probs is not None
    summary = job.reference_log_probs / "reference.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"reference_sha256": parent.sha256}))
    with pytest.raises(WrongReference, match="log-probs differ"):
        train(job)


def test_an_anchor_is_another_policy_than_the_one_that_is_continued(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    anchor = adapter_ref(sft_zero2[0])
    first = make_job(tmp_path / "first", base, files.dpo, DPO | {"max_steps": 4}, anchor)
    assert train(first) is not None
    settings = DPO | {"reference": "anchor:v1.0"}
    second = make_job(tmp_path / "second", base, files.dpo, settings, adapter_ref(first), reference=anchor)
    result = train(second)
    assert result is not None and result.reference is not None
    assert result.reference["reference_sha256"] == anchor.sha256
    assert float(result.reference["log_prob_difference_policy_to_reference"]) > 1e-3


def test_log_probs_do_not_depend_on_batches_or_on_their_order(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    taken = []
    for size in (1, 5):
        job = make_job(tmp_path / str(size), base, files.dpo, DPO | {"batch_size": size}, adapter_ref(sft_zero2[0]))
        assert job.reference_log_probs is not None
        taken.append(read_rows(job.reference_log_probs)["ref_chosen_logps"])
    assert taken[0][:] == pytest.approx(taken[1][:], abs=1e-3)
    assert len(set(taken[0][:])) > 10


def test_job_without_a_parent_is_refused(base: BaseModelRef, files: Files, tmp_path: Path) -> None:
    with pytest.raises(MissingReference, match="no parent"):
        train(make_job(tmp_path, base, files.dpo, DPO))
