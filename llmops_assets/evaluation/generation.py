"""Answers in left-padded batches: greedy, or steered by a logits processor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from llmops_assets.evaluation.inputs import HeldoutQuestion, in_hash_order
from llmops_assets.evaluation.model import Policy
from llmops_assets.evaluation.scores import QuestionScore, SkippedRow
from llmops_assets.evaluation.specs import EvaluationSpec
from llmops_assets.evaluation.text import score_text


@dataclass(frozen=True)
class Answer:
    """A generated answer. `tokens` leaves the end-of-turn token out; `finished` says that it was generated."""

    text: str
    tokens: int
    finished: bool


Steering = Callable[[list[int], int], LogitsProcessor]
"""Makes the logits processor of one batch from (indices of its prompts, padded prompt length)."""


@torch.inference_mode()
def generate(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    steering: Steering | None = None,
) -> list[Answer]:
    """Answer tokenized prompts in the order given; prompts of like length share a batch, the longest first.

    Decoding is an argmax over the logits, so that randomness, if any, is the steering's alone.
    """
    end = policy.end_of_turn_id
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=end, pad_token_id=policy.pad_id
    )
    answers: dict[int, Answer] = {}
    order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index))
    for begin in range(0, len(order), batch_size):
        batch = order[begin : begin + batch_size]
        width = len(prompts[batch[0]])
        ids = torch.full((len(batch), width), policy.pad_id)
        mask = torch.zeros((len(batch), width), dtype=torch.long)
        for row, index in enumerate(batch):
            ids[row, width - len(prompts[index]) :] = torch.tensor(prompts[index])
            mask[row, width - len(prompts[index]) :] = 1
        output = cast(Any, policy.model).generate(
            input_ids=ids.to(policy.device),
            attention_mask=mask.to(policy.device),
            generation_config=config,
            logits_processor=LogitsProcessorList([steering(batch, width)] if steering else []),
        )
        for index, generated in zip(batch, cast(torch.Tensor, output)[:, width:].tolist(), strict=True):
            finished = end in generated
            body = generated[: generated.index(end)] if finished else generated
            text = policy.tokenizer.decode(body, skip_special_tokens=True)
            answers[index] = Answer(str(text).strip(), len(body), finished)
    return [answers[index] for index in range(len(prompts))]


def answer_questions(
    policy: Policy, questions: Sequence[HeldoutQuestion], settings: EvaluationSpec
) -> tuple[list[QuestionScore], list[SkippedRow]]:
    """Answer at most `max_questions` questions, chosen by hash, greedily, and score each against its reference.

    A question that leaves no room for `max_new_tokens` in the model's context is skipped with the reason.
    """
    asked: list[tuple[HeldoutQuestion, list[int]]] = []
    skipped: list[SkippedRow] = []
    for question in in_hash_order(questions, settings.seed)[: settings.max_questions]:
        prompt = policy.prompt_ids(question.question)
        if len(prompt) + settings.max_new_tokens > policy.context:
            skipped.append(SkippedRow(id=question.id, reason=no_room(prompt, settings.max_new_tokens, policy)))
        else:
            asked.append((question, prompt))
    answers = generate(
        policy,
        [prompt for _, prompt in asked],
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.generation_batch,
    )
    return [
        _score(policy, question, answer, settings.max_new_tokens)
        for (question, _), answer in zip(asked, answers, strict=True)
    ], skipped


def no_room(prompt: Sequence[int], max_new_tokens: int, policy: Policy) -> str:
    """Why a prompt cannot be answered, as a sentence."""
    return f"prompt has {len(prompt)} tokens and the answer up to {max_new_tokens}, the model sees {policy.context}"


def _score(policy: Policy, question: HeldoutQuestion, answer: Answer, max_new_tokens: int) -> QuestionScore:
    reference_tokens = len(policy.answer_ids(question.question, question.reference)) - 1
    return QuestionScore(
        id=question.id,
        group=question.cluster,
        prediction=answer.text,
        reference=question.reference,
        **score_text(answer.text, question.reference)._asdict(),
        answer_tokens=answer.tokens,
        reference_tokens=min(reference_tokens, max_new_tokens),
        finished=answer.finished,
    )
