from typing import cast

import pytest
import torch

from llmops_assets.evaluation.generation import answer_questions, generate
from llmops_assets.evaluation.inputs import HeldoutQuestion, Message
from llmops_assets.evaluation.model import Policy
from llmops_assets.evaluation.specs import EvaluationSpec

QUESTIONS = [
    "What does `abs` do?",
    "Why?",
    "Explain the `with` statement and everything that it may be used for.",
    "Hm",
]


def question(index: int, *turns: tuple[str, str]) -> HeldoutQuestion:
    return HeldoutQuestion.model_validate(
        {"id": f"q{index}", "group": "", "messages": [{"role": role, "content": text} for role, text in turns]}
    )


def greedy(policy: Policy, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(policy.model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == policy.end_of_turn_id:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_padding_and_batching_do_not_change_an_answer(policy: Policy, batch_size: int):
    prompts = [policy.prompt_ids([Message(role="user", content=text)]) for text in QUESTIONS]
    answers = generate(policy, prompts, max_new_tokens=6, batch_size=batch_size)
    for prompt, answer in zip(prompts, answers, strict=True):
        expected = greedy(policy, prompt, 6)
        assert answer.tokens == len(expected)
        assert answer.text == str(policy.tokenizer.decode(expected, skip_special_tokens=True)).strip()
        assert not answer.finished


def test_an_answer_ends_at_the_end_of_turn_token_which_is_not_counted(policy: Policy):
    prompt = policy.prompt_ids([Message(role="user", content="Why?")])
    first = greedy(policy, prompt, 3)
    head = cast(torch.nn.Linear, policy.model.get_output_embeddings()).weight
    saved = head[policy.end_of_turn_id].clone()
    try:
        with torch.no_grad():
            # Twice the row of the third greedy token: its logit wins exactly where that token won.
            head[policy.end_of_turn_id] = 2 * head[first[2]]
        (answer,) = generate(policy, [prompt], max_new_tokens=6, batch_size=1)
    finally:
        with torch.no_grad():
            head[policy.end_of_turn_id] = saved
    assert answer.finished
    assert answer.tokens < 3
    assert "<|im_end|>" not in answer.text


def test_the_reference_is_the_first_assistant_turn_of_the_conversation(policy: Policy):
    rows = [question(0, ("user", "Why?"), ("assistant", "Because."), ("user", "And?"), ("assistant", "So."))]
    scores, _ = answer_questions(policy, rows, EvaluationSpec(max_new_tokens=4))
    assert scores[0].reference == "Because."
    alone = generate(
        policy, [policy.prompt_ids([Message(role="user", content="Why?")])], max_new_tokens=4, batch_size=1
    )
    assert scores[0].prediction == alone[0].text


def test_only_max_questions_are_answered_and_the_choice_does_not_depend_on_file_order(policy: Policy):
    rows = [question(index, ("user", text), ("assistant", "Yes.")) for index, text in enumerate(QUESTIONS)]
    settings = EvaluationSpec(max_questions=2, max_new_tokens=2)
    chosen = [score.id for score in answer_questions(policy, rows, settings)[0]]
    assert len(chosen) == 2
    assert chosen == [score.id for score in answer_questions(policy, rows[::-1], settings)[0]]


def test_a_question_without_room_for_the_answer_is_skipped_with_the_reason(policy: Policy):
    rows = [
        question(0, ("user", "Why? " * 60), ("assistant", "Yes.")),
        question(1, ("user", "Why?"), ("assistant", "No.")),
    ]
    scores, skipped = answer_questions(policy, rows, EvaluationSpec(max_new_tokens=8))
    assert [score.id for score in scores] == ["q1"]
    assert [row.id for row in skipped] == ["q0"]
    assert "the model sees 128" in skipped[0].reason


def test_the_reference_length_is_cut_where_answers_are(policy: Policy):
    rows = [question(0, ("user", "Why?"), ("assistant", "one two three four five six seven eight"))]
    scores, _ = answer_questions(policy, rows, EvaluationSpec(max_new_tokens=4))
    assert scores[0].reference_tokens == 4
