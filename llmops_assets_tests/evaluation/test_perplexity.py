import pytest
import torch

from llmops_assets.evaluation.inputs import HeldoutDocument
from llmops_assets.evaluation.model import Policy
from llmops_assets.evaluation.perplexity import UnusableWindow, score_documents, windows
from llmops_assets.evaluation.specs import EvaluationSpec

TEXTS = [
    "Return the absolute value of the argument.",
    "A short one.",
    "Open a file and return a stream. Raises OSError upon failure. " * 3,
    "An iterator over a mapping's keys; the mapping may change its values but not its size while it runs.",
]
DOCUMENTS = [HeldoutDocument(id=f"d{index}", group="g", text=text) for index, text in enumerate(TEXTS)]


def settings(**changes: int) -> EvaluationSpec:
    values = {"perplexity_window": 24, "perplexity_stride": 10, "max_perplexity_tokens": 5_000}
    return EvaluationSpec(**(values | changes))


def brute_force_nll(policy: Policy, text: str, window: int, stride: int) -> float:
    """One forward pass per token: the context is that of the first window that reaches the token."""
    start = policy.document_start_id
    assert start is not None
    ids = [start, *policy.text_ids(text)]
    total = 0.0
    for target in range(1, len(ids)):
        begin = 0
        while begin + window <= target:
            begin += stride
        with torch.no_grad():
            logits = policy.model(torch.tensor([ids[begin:target]])).logits[0, -1].double()
        total -= float(torch.log_softmax(logits, dim=-1)[ids[target]])
    return total


def test_sliding_window_equals_brute_force_token_by_token(policy: Policy):
    scores = {score.id: score for score in score_documents(policy, DOCUMENTS, settings())}
    assert len(scores) == len(TEXTS)
    for document in DOCUMENTS:
        assert scores[document.id].nll == pytest.approx(brute_force_nll(policy, document.text, 24, 10), rel=1e-5)
        assert scores[document.id].tokens == len(policy.text_ids(document.text))
        assert scores[document.id].bytes == len(document.text.encode())


def test_a_shorter_window_changes_the_figure(policy: Policy):
    long, short = (
        {score.id: score.nll for score in score_documents(policy, DOCUMENTS, settings(perplexity_window=window))}
        for window in (100, 12)
    )
    assert long["d2"] != pytest.approx(short["d2"], rel=1e-4)
    assert long["d1"] == pytest.approx(short["d1"], rel=1e-5)


@pytest.mark.parametrize("length", [2, 3, 7, 8, 9, 16, 23, 64])
@pytest.mark.parametrize(("window", "stride"), [(8, 4), (8, 7), (8, 1), (64, 32)])
def test_each_token_is_scored_once_with_as_much_context_as_the_window_allows(length: int, window: int, stride: int):
    scored: list[int] = []
    for span in windows(range(length), window, stride):
        assert len(span.ids) <= window
        assert span.ids[0] == 0 or span.first >= window - stride
        scored.extend(span.ids[span.first :])
    assert scored == list(range(1, length))


def test_the_adapter_is_measured_and_not_its_base(policy: Policy, base_policy: Policy):
    with_adapter, alone = (score_documents(subject, DOCUMENTS, settings())[0].nll for subject in (policy, base_policy))
    assert with_adapter != pytest.approx(alone, rel=1e-3)


def test_documents_are_chosen_whole_until_the_budget_is_spent(policy: Policy):
    scores = score_documents(policy, DOCUMENTS, settings(max_perplexity_tokens=60))
    assert 0 < len(scores) < len(TEXTS)
    assert sum(score.tokens for score in scores) <= 60
    shuffled = score_documents(policy, DOCUMENTS[::-1], settings(max_perplexity_tokens=60))
    assert [score.id for score in shuffled] == [score.id for score in scores]


def test_a_budget_below_every_document_names_the_key(policy: Policy):
    with pytest.raises(UnusableWindow, match="max_perplexity_tokens: 2 is less"):
        score_documents(policy, DOCUMENTS, settings(max_perplexity_tokens=2))


def test_a_window_beyond_the_models_context_names_both_sizes(policy: Policy):
    with pytest.raises(UnusableWindow, match=r"perplexity_window: 512 .* 128 tokens"):
        score_documents(policy, DOCUMENTS, settings(perplexity_window=512))


def test_a_stride_that_would_leave_tokens_without_context_is_refused():
    with pytest.raises(ValueError, match="perplexity_stride must be less"):
        settings(perplexity_window=10, perplexity_stride=10)
