import pytest
import torch

from llmops_assets.evaluation.inputs import HeldoutPair, Message
from llmops_assets.evaluation.model import Policy
from llmops_assets.evaluation.preference import score_pairs


def pair(pair_id: str, question: str, chosen: str, rejected: str) -> HeldoutPair:
    return HeldoutPair(
        pair_id=pair_id, prompt=[Message(role="user", content=question)], chosen=chosen, rejected=rejected
    )


PAIRS = [
    pair("a", "What does `abs` do?", "Return the absolute value.", "It opens a file and reads it."),
    pair("b", "What does `open` do, and which error does it raise?", "Open a file.", "No."),
    pair("c", "What does `abs` do?", "The absolute value", "A file"),
]


def naive_logp(policy: Policy, question: str, answer: str) -> tuple[float, int]:
    """Token by token over the rendered conversation, without batching or caching."""
    prompt = policy.text_ids(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")
    answer_ids = policy.text_ids(f"{answer}<|im_end|>")
    total = 0.0
    for index, token in enumerate(answer_ids):
        with torch.no_grad():
            logits = policy.model(torch.tensor([[*prompt, *answer_ids[:index]]])).logits[0, -1].double()
        total += float(torch.log_softmax(logits, dim=-1)[token])
    return total, len(answer_ids)


def test_log_probabilities_equal_a_naive_loop_with_the_end_of_turn_scored(policy: Policy):
    scores, skipped = score_pairs(policy, PAIRS)
    assert not skipped
    for row, score in zip(PAIRS, scores, strict=True):
        for answer, logp, tokens in (
            (row.chosen, score.logp_chosen, score.tokens_chosen),
            (row.rejected, score.logp_rejected, score.tokens_rejected),
        ):
            expected, count = naive_logp(policy, row.prompt[0].content, answer)
            assert logp == pytest.approx(expected, rel=1e-5)
            assert tokens == count


def test_pairs_with_one_prompt_share_a_group(policy: Policy):
    first, second, third = (score.group for score in score_pairs(policy, PAIRS)[0])
    assert first == third != second


def test_a_pair_longer_than_the_context_is_skipped_with_the_reason(policy: Policy):
    scores, skipped = score_pairs(policy, [*PAIRS, pair("long", "Why?", "because " * 200, "so")])
    assert [score.id for score in scores] == ["a", "b", "c"]
    assert [row.id for row in skipped] == ["long"]
    assert "the model sees 128" in skipped[0].reason
