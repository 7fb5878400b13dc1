"""Log-probabilities of chosen and rejected answers: the evidence behind implicit rewards."""

from collections.abc import Sequence

from llmops_assets.evaluation.inputs import HeldoutPair
from llmops_assets.evaluation.likelihood import Span, span_nlls
from llmops_assets.evaluation.model import Policy
from llmops_assets.evaluation.scores import PairScore, SkippedRow


def score_pairs(policy: Policy, pairs: Sequence[HeldoutPair]) -> tuple[list[PairScore], list[SkippedRow]]:
    """Score both answers of each pair given its prompt in the chat template (Rafailov et al. 2023, section 4).

    The sum runs over the answer's tokens and its end-of-turn token; prompt tokens carry no score. A pair that is
    longer than the model's context is skipped with the reason, for it would be scored on a text nobody saw.
    """
    measurable: list[tuple[HeldoutPair, Span, Span]] = []
    skipped: list[SkippedRow] = []
    for pair in pairs:
        prompt = policy.prompt_ids(pair.prompt)
        spans = [
            Span([*prompt, *policy.answer_ids(pair.prompt, answer)], len(prompt))
            for answer in (pair.chosen, pair.rejected)
        ]
        longest = max(len(span.ids) for span in spans)
        if longest > policy.context:
            reason = f"pair has {longest} tokens, the model sees {policy.context}"
            skipped.append(SkippedRow(id=pair.id, reason=reason))
        else:
            measurable.append((pair, spans[0], spans[1]))
    nlls = span_nlls(policy, [span for _, chosen, rejected in measurable for span in (chosen, rejected)])
    scores = [
        PairScore(
            id=pair.id,
            group=pair.cluster,
            logp_chosen=-nlls[2 * index],
            logp_rejected=-nlls[2 * index + 1],
            tokens_chosen=len(chosen.ids) - chosen.first,
            tokens_rejected=len(rejected.ids) - rejected.first,
        )
        for index, (pair, chosen, rejected) in enumerate(measurable)
    ]
    return scores, skipped
