"""Two sampled answers to every prompt, each draw fixed by the seed, the prompt and the side."""

import hashlib
from collections.abc import Sequence
from typing import cast

import numpy
import torch
from transformers import LogitsProcessor

from llmops_assets.evaluation.generation import Answer, generate, no_room
from llmops_assets.evaluation.inputs import BrokenInput, SamplingPrompt
from llmops_assets.evaluation.job import SamplingJob
from llmops_assets.evaluation.model import Policy

SIDES = ("left", "right")


class NucleusDraw(LogitsProcessor):
    """Nucleus sampling (Holtzman et al. 2020) from prepared uniform numbers, by inverting the distribution function.

    Because a row's numbers come from its own seed, its draws do not depend on the rows that share its batch.
    """

    def __init__(self, uniforms: torch.Tensor, prompt_length: int, temperature: float, top_p: float) -> None:
        """`uniforms`: [rows, new tokens] in [0, 1). `prompt_length`: padded length of the batch's prompts."""
        self._uniforms = uniforms
        self._prompt_length = prompt_length
        self._temperature = temperature
        self._top_p = top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores [rows, vocabulary] in which only the drawn token is finite."""
        probabilities, tokens = torch.softmax(scores.float() / self._temperature, dim=-1).sort(
            dim=-1, descending=True, stable=True
        )
        cumulative = probabilities.cumsum(dim=-1)
        # A token belongs to the nucleus while the mass before it is below top_p; the first always does.
        size = (cumulative - probabilities < self._top_p).sum(dim=-1, keepdim=True)
        mass = cumulative.gather(-1, size - 1)
        draw = self._uniforms[:, input_ids.shape[1] - self._prompt_length].unsqueeze(-1).to(scores.device)
        rank = torch.minimum(torch.searchsorted(cumulative, draw * mass, right=True), size - 1)
        return torch.full_like(scores, float("-inf")).scatter(-1, tokens.gather(-1, rank), 0.0)


def sample_pairs(policy: Policy, prompts: Sequence[SamplingPrompt], job: SamplingJob) -> list[tuple[Answer, Answer]]:
    """Two answers to each prompt, in the order given. Equal jobs give equal answers on equal hardware."""
    encoded = [policy.prompt_ids(prompt.messages) for prompt in prompts]
    for prompt, ids in zip(prompts, encoded, strict=True):
        if len(ids) + job.max_new_tokens > policy.context:
            raise BrokenInput(f"{job.prompts_file}: {prompt.id}: {no_room(ids, job.max_new_tokens, policy)}")
    uniforms = torch.stack(
        [_uniforms(job.seed, prompt.id, side, job.max_new_tokens) for prompt in prompts for side in SIDES]
    )

    def steering(batch: list[int], width: int) -> LogitsProcessor:
        return NucleusDraw(uniforms[batch].to(policy.device), width, job.temperature, job.top_p)

    answers = generate(
        policy,
        [ids for ids in encoded for _ in SIDES],
        max_new_tokens=job.max_new_tokens,
        batch_size=job.batch_size,
        steering=steering,
    )
    return list(zip(answers[::2], answers[1::2], strict=True))


def _uniforms(seed: int, prompt_id: str, side: str, count: int) -> torch.Tensor:
    digest = hashlib.sha256(f"{seed}|{prompt_id}|{side}".encode()).digest()
    draws = numpy.random.default_rng(int.from_bytes(digest[:16])).random(count)
    return torch.from_numpy(cast("numpy.ndarray", draws)).float()
