"""Sliding-window perplexity of held-out documents, kept per document."""

from collections.abc import Iterator, Sequence

from llmops_assets.errors import LlmopsError
from llmops_assets.evaluation.inputs import HeldoutDocument, in_hash_order
from llmops_assets.evaluation.likelihood import Span, span_nlls
from llmops_assets.evaluation.model import Policy
from llmops_assets.evaluation.scores import DocumentScore
from llmops_assets.evaluation.specs import EvaluationSpec


class UnusableWindow(LlmopsError):
    """The window, the stride or the token budget do not fit the model or the documents."""


def score_documents(
    policy: Policy, documents: Sequence[HeldoutDocument], settings: EvaluationSpec
) -> list[DocumentScore]:
    """Score whole documents, in hash order, until `max_perplexity_tokens` is reached.

    Method: the strided sliding window of the Transformers documentation ("Perplexity of fixed-length models").
    Each window sees `perplexity_window` tokens and scores those that no earlier window has scored, so that every
    token counts once and has at least `window - stride` tokens of context where the document offers them. The
    document-start token gives the first token a context; a model without one leaves that token unscored.
    Raises UnusableWindow if the window exceeds the model's context or no document fits the budget.
    """
    if settings.perplexity_window > policy.context:
        raise UnusableWindow(
            f"perplexity_window: {settings.perplexity_window} is more than the {policy.context} tokens that the model "
            "can see; lower it in the recipe's evaluation section"
        )
    start = policy.document_start_id
    chosen: list[tuple[HeldoutDocument, list[int]]] = []
    left = settings.max_perplexity_tokens
    for document in in_hash_order(documents, settings.seed):
        ids = [*([] if start is None else [start]), *policy.text_ids(document.text)]
        if 1 < len(ids) <= left + 1:
            chosen.append((document, ids))
            left -= len(ids) - 1
    if not chosen:
        raise UnusableWindow(
            f"max_perplexity_tokens: {settings.max_perplexity_tokens} is less than the shortest held-out document; "
            "raise it in the recipe's evaluation section"
        )
    spans: list[Span] = []
    owners: list[int] = []
    for owner, (_, ids) in enumerate(chosen):
        for span in windows(ids, settings.perplexity_window, settings.perplexity_stride):
            spans.append(span)
            owners.append(owner)
    totals = [0.0] * len(chosen)
    for owner, nll in zip(owners, span_nlls(policy, spans), strict=True):
        totals[owner] += nll
    return [
        DocumentScore(
            id=document.id,
            group=document.cluster,
            nll=nll,
            tokens=len(ids) - 1,
            bytes=len(document.text.encode()),
        )
        for (document, ids), nll in zip(chosen, totals, strict=True)
    ]


def windows(ids: Sequence[int], window: int, stride: int) -> Iterator[Span]:
    """Spans of at most `window` tokens, `stride` apart, that score every token but the first exactly once."""
    scored = 1
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        yield Span(ids[begin:end], scored - begin)
        scored = end
        if end == len(ids):
            return
