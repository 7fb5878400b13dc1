"""The figures of a parity check, and what fails it."""

import pytest
import torch
from transformers import AutoTokenizer

from llmops_assets.training.export.job import Parity
from llmops_assets.training.export.parity import PROBE_TOKENS, PROBES, ParityFailed, compare, probe_rows, require_parity
from llmops_assets.training.job import BaseModelRef

GOOD = Parity(
    prompts=12, tokens=300, max_logit_difference=0.05, mean_kl=1e-7, max_kl=1e-6, top1_agreement=1.0, adapter_kl=0.2
)


def test_figures_are_those_of_the_definitions() -> None:
    reference = [torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0]])]
    merged = [torch.tensor([[2.0, 0.0], [3.0, 1.0]]), torch.tensor([[1.0, 0.5]])]
    parity = compare(reference, merged, without_adapter=reference)
    p, q = torch.cat(reference).softmax(-1), torch.cat(merged).softmax(-1)
    kl = torch.nn.functional.kl_div(q.log(), p, reduction="none").sum(-1)
    assert (parity.prompts, parity.tokens, parity.max_logit_difference) == (2, 3, 3.0)
    assert parity.mean_kl == pytest.approx(float(kl.mean()), rel=1e-5)
    assert parity.max_kl == pytest.approx(float(kl.max()), rel=1e-5)
    assert parity.top1_agreement == pytest.approx(2 / 3)
    assert parity.adapter_kl == 0


@pytest.mark.parametrize(
    ("figures", "named"),
    [
        ({"max_logit_difference": 5.0}, "a logit differs by 5"),
        ({"mean_kl": 0.015}, "KL 0.015 nats per token"),
        ({"top1_agreement": 0.5}, "the same first token at 50.0%"),
        ({"adapter_kl": 5e-7}, "KL 1e-07 against 5e-07 that the adapter makes"),
        ({"max_logit_difference": float("nan")}, "a logit differs by nan"),
        ({"mean_kl": float("nan")}, "KL nan"),
    ],
)
def test_each_figure_beyond_its_limit_fails_and_is_named(figures: dict[str, float], named: str) -> None:
    require_parity(GOOD, "bf16", "tiny")
    with pytest.raises(ParityFailed, match=named):
        require_parity(GOOD.model_copy(update=figures), "bf16", "tiny")


def test_float32_is_held_to_less() -> None:
    with pytest.raises(ParityFailed, match=r"a logit differs by 0\.05"):
        require_parity(GOOD, "fp32", "tiny")


def test_adapter_that_changes_nothing_may_differ_by_rounding() -> None:
    require_parity(GOOD.model_copy(update={"mean_kl": 1e-12, "adapter_kl": 0.0}), "bf16", "tiny")


def test_probes_are_turns_of_a_user_and_not_too_long(base: BaseModelRef) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base.name)
    rows = probe_rows(tokenizer, [*PROBES, "word " * 500])
    assert tokenizer.decode(rows[0]).startswith("<|im_start|>user\nWhat is a list?")
    assert len(rows) == 13 and max(len(row) for row in rows) == PROBE_TOKENS
