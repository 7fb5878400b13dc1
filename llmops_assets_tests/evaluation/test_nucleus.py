import pytest
import torch

from llmops_assets.evaluation.inputs import BrokenInput, SamplingPrompt
from llmops_assets.evaluation.job import SamplingJob
from llmops_assets.evaluation.model import Policy
from llmops_assets.evaluation.nucleus import NucleusDraw, sample_pairs
from llmops_assets_tests.evaluation.conftest import TinyModel

PROMPTS = [
    SamplingPrompt.model_validate({"id": f"p{index}", "messages": [{"role": "user", "content": text}]})
    for index, text in enumerate(["Why?", "What does `abs` do?", "Explain the `with` statement."])
]


@pytest.fixture
def job(tiny_model: TinyModel) -> SamplingJob:
    return SamplingJob.model_validate(
        {
            "base_model": tiny_model.base.model_dump(),
            "adapter": tiny_model.adapter.model_dump(),
            "prompts_file": "prompts.jsonl",
            "max_new_tokens": 8,
            "output_file": "samples.jsonl",
        }
    )


def test_equal_seeds_give_equal_answers_and_other_seeds_others(policy: Policy, job: SamplingJob):
    first = sample_pairs(policy, PROMPTS, job)
    assert sample_pairs(policy, PROMPTS, job) == first
    assert sample_pairs(policy, PROMPTS, job.model_copy(update={"seed": 8})) != first


def test_the_two_sides_are_different_draws(policy: Policy, job: SamplingJob):
    assert all(left.text != right.text for left, right in sample_pairs(policy, PROMPTS, job))


def test_draws_do_not_depend_on_the_batch(policy: Policy, job: SamplingJob):
    whole = sample_pairs(policy, PROMPTS, job)
    assert sample_pairs(policy, PROMPTS[1:2], job) == whole[1:2]
    assert sample_pairs(policy, PROMPTS, job.model_copy(update={"batch_size": 1})) == whole


def test_draws_follow_the_softmax_within_the_nucleus():
    probabilities = torch.tensor([0.4, 0.1, 0.3, 0.2])
    count = 4_000
    draws = NucleusDraw((torch.arange(count).float().unsqueeze(-1) + 0.5) / count, 0, temperature=1.0, top_p=0.65)
    drawn = draws(torch.zeros((count, 0)), probabilities.log().expand(count, -1)).argmax(dim=-1)
    shares = torch.bincount(drawn, minlength=4) / count
    # The nucleus of 0.65 is {0.4, 0.3}: without the second token it holds too little mass.
    assert shares.tolist() == pytest.approx([4 / 7, 0, 3 / 7, 0], abs=1e-3)


def test_a_low_temperature_draws_the_likeliest_token():
    draws = NucleusDraw(torch.tensor([[0.999]]), 0, temperature=0.01, top_p=1.0)
    assert draws(torch.zeros((1, 0)), torch.tensor([[1.0, 2.0, 1.5]])).argmax().item() == 1


def test_a_prompt_without_room_for_an_answer_is_named(policy: Policy, job: SamplingJob):
    long = SamplingPrompt.model_validate({"id": "long", "messages": [{"role": "user", "content": "Why? " * 80}]})
    with pytest.raises(BrokenInput, match="long: prompt has"):
        sample_pairs(policy, [long], job)
