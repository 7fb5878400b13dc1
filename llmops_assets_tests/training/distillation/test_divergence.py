"""The sparse divergences against plain torch over whole vocabularies, and what a tail bucket may and may not do."""

import itertools

import pytest
import torch

from llmops_assets.training.distillation.divergence import Divergence, Objective, summed_divergence, top_k_of

POSITIONS, HIDDEN, VOCABULARY = 37, 24, 190
DIVERGENCES: tuple[Divergence, ...] = ("forward_kl", "reverse_kl", "jsd")


def heads(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, weight and bias of a student, and the logits of a sharper teacher."""
    torch.manual_seed(0)
    hidden = torch.randn(POSITIONS, HIDDEN, dtype=dtype, requires_grad=True)
    weight = (torch.randn(VOCABULARY, HIDDEN, dtype=dtype) / 4).requires_grad_()
    bias = torch.randn(VOCABULARY, dtype=dtype, requires_grad=True)
    return hidden, weight, bias, torch.randn(POSITIONS, VOCABULARY, dtype=dtype) * 3


def dense(kind: Divergence, student: torch.Tensor, teacher: torch.Tensor, temperature: float, beta: float):
    """The definitions of the papers over the whole vocabulary, term by term."""
    p, q = (teacher / temperature).softmax(-1), (student / temperature).softmax(-1)
    if kind == "forward_kl":
        return (p * (p / q).log()).sum(-1)
    if kind == "reverse_kl":
        return (q * (q / p).log()).sum(-1)
    m = beta * p + (1 - beta) * q
    return beta * (p * (p / m).log()).sum(-1) + (1 - beta) * (q * (q / m).log()).sum(-1)


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize(
    ("dtype", "of_value", "of_gradient"),
    [(torch.float64, 1e-14, 1e-14), (torch.float32, 1e-6, 1e-7)],
    ids=["float64", "float32"],
)
def test_keeping_the_whole_vocabulary_is_plain_torch(
    kind: Divergence, temperature: float, dtype: torch.dtype, of_value: float, of_gradient: float
) -> None:
    hidden, weight, bias, teacher = (tensor.detach() for tensor in heads(torch.float64))
    exact = [tensor.clone().requires_grad_() for tensor in (hidden, weight, bias)]
    expected = dense(kind, exact[0] @ exact[1].T + exact[2], teacher, temperature, 0.3).mean()
    wanted = torch.autograd.grad(expected, exact)

    given = (hidden.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), bias.to(dtype).requires_grad_())
    kept, objective = top_k_of(teacher.to(dtype), VOCABULARY), Objective(kind, temperature, 0.3)
    mean = summed_divergence(*given, kept, objective, logits_per_chunk=5 * VOCABULARY) / POSITIONS
    found = torch.autograd.grad(mean, given)

    assert abs(mean.item() - expected.item()) < of_value
    for grad, reference in zip(found, wanted, strict=True):
        assert (grad - reference).abs().max() < of_gradient


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_gradient_through_a_tail_bucket_is_that_of_finite_differences(kind: Divergence) -> None:
    hidden, weight, bias, teacher = heads(torch.float64)
    kept, objective = top_k_of(teacher, 6), Objective(kind, 2.0, 0.4)

    def total(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return summed_divergence(hidden, weight, bias, kept.rows(0, 5), objective, logits_per_chunk=2 * VOCABULARY)

    assert torch.autograd.gradcheck(total, (hidden[:5].detach().requires_grad_(), weight, bias), fast_mode=True)


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_chunks_change_neither_value_nor_gradient(kind: Divergence) -> None:
    hidden, weight, bias, teacher = heads(torch.float64)
    kept, objective = top_k_of(teacher, 8), Objective(kind, 1.5)
    results = []
    for positions in (1, 7, POSITIONS):
        total = summed_divergence(hidden, weight, bias, kept, objective, logits_per_chunk=positions * VOCABULARY)
        results.append((total, *torch.autograd.grad(total, (hidden, weight, bias))))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("k", [1, 16, VOCABULARY])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_student_that_equals_its_teacher_has_no_divergence(kind: Divergence, k: int, temperature: float) -> None:
    *_, teacher = heads(torch.float64)
    assert Objective(kind, temperature)(teacher, top_k_of(teacher, k)).abs().max() < 1e-12


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_fewer_buckets_never_see_more_divergence(kind: Divergence) -> None:
    """Data processing inequality: merging outcomes cannot increase an f-divergence; it holds at temperature 1."""
    hidden, weight, bias, teacher = heads(torch.float64)
    logits = (hidden @ weight.T + bias).detach()
    values = [Objective(kind)(logits, top_k_of(teacher, k)) for k in (1, 4, 16, 64, VOCABULARY)]
    for fewer, more in itertools.pairwise(values):
        assert (fewer <= more + 1e-12).all()
    assert (values[0] < values[-1]).any()


def test_tail_of_a_sure_teacher_keeps_its_digits() -> None:
    logits = torch.zeros(1, 1000)
    logits[0, 3] = 40.0
    tail = top_k_of(logits, 1).tail.item()
    assert tail == pytest.approx(torch.log(torch.tensor(999.0)).item() - 40, abs=1e-4)


def test_bfloat16_heads_are_multiplied_in_float32_under_autocast() -> None:
    hidden, weight, bias, teacher = heads()
    low_hidden, low_weight = hidden.detach().bfloat16().requires_grad_(), weight.detach().bfloat16()
    kept, objective = top_k_of(teacher, 16), Objective("forward_kl", 2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = summed_divergence(low_hidden, low_weight, bias.detach(), kept, objective)
    expected = objective(low_hidden.float() @ low_weight.float().T + bias.detach(), kept).sum()
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    (grad,) = torch.autograd.grad(total, low_hidden)
    assert grad.dtype == torch.bfloat16
