"""Scores made from known effects, so that a gate's answer is known beforehand."""

from collections.abc import Sequence
from typing import Any

import numpy

from llmops_assets.evaluation.scores import AdapterScores, DocumentScore, PairScore, QuestionScore
from llmops_assets.evaluation.specs import EvaluationSpec

SETTINGS = EvaluationSpec()


def made_scores(
    name: str | None,
    *,
    nll_per_token: float = 3.0,
    rouge_l: float = 0.4,
    exact_match: float = 0.1,
    answer_tokens: int = 20,
    wins: float = 0.5,
    n: int = 400,
    stages: Sequence[str] = ("documents", "questions", "preferences"),
    **changes: Any,
) -> AdapterScores:
    """Scores of `n` examples each. Every adapter finds the same examples hard, as in a paired measurement.

    `wins` is the share of pairs on which the chosen answer gained against an adapter made with 0.5.
    """
    draws = numpy.random.default_rng(1)
    difficulty = draws.normal(0, 0.1, n)
    own = numpy.random.default_rng(sum(map(ord, name or "base"))).normal(0, 0.02, n)
    documents = [
        DocumentScore(
            id=f"d{i}", group=f"g{i // 2}", nll=100 * (nll_per_token + difficulty[i] + own[i]), tokens=100, bytes=350
        )
        for i in range(n)
    ]
    questions = [
        QuestionScore(
            id=f"q{i}",
            group=f"g{i}",
            prediction="a",
            reference="b",
            exact_match=float(i < exact_match * n),
            jaccard=0.3,
            rouge1=rouge_l,
            rouge2=rouge_l,
            rouge_l=rouge_l + float(difficulty[i] + own[i]),
            bleu=0.2,
            answer_tokens=answer_tokens,
            reference_tokens=20,
            finished=True,
        )
        for i in range(n)
    ]
    gains = numpy.zeros(n) if wins == 0.5 else numpy.where(numpy.arange(n) < wins * n, 1.0, -1.0)
    pairs = [
        PairScore(
            id=f"p{i}",
            group=f"g{i}",
            logp_chosen=-40.0 + float(gains[i]),
            logp_rejected=-40.0,
            tokens_chosen=20,
            tokens_rejected=20,
        )
        for i in range(n)
    ]
    values = {
        "adapter_sha256": name,
        "base_digest": "base-digest",
        "settings": SETTINGS,
        "inputs": {stage: "sha" for stage in stages},
        "documents": documents if "documents" in stages else [],
        "questions": questions if "questions" in stages else [],
        "preferences": pairs if "preferences" in stages else [],
        "device": "cpu/fp32",
        "seconds": 1.0,
    }
    return AdapterScores(**(values | changes))
