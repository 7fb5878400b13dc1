"""The policy under measurement: a base with or without an adapter, ready to score and to answer."""

import os
from dataclasses import dataclass
from typing import cast

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from llmops_assets.errors import LlmopsError
from llmops_assets.evaluation.inputs import Message, as_chat
from llmops_assets.training.job import AdapterRef, BaseModelRef
from llmops_assets.training.model import load_tokenizer
from llmops_assets.training.policy import frozen_policy


class UnusableChatTemplate(LlmopsError):
    """The tokenizer's chat template cannot be used to ask and to score answers."""


@dataclass(frozen=True)
class Policy:
    """A model in evaluation mode with its tokenizer, and what is asked of both everywhere."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    name: str

    @property
    def context(self) -> int:
        """Longest sequence in tokens that the model's positions cover."""
        return int(getattr(self.model.config, "max_position_embeddings", 1 << 30))

    @property
    def pad_id(self) -> int:
        """Token used to fill batches; its value never reaches a score."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if isinstance(pad, int) else self.end_of_turn_id

    @property
    def document_start_id(self) -> int | None:
        """What a document begins after: the BOS token, else <|endoftext|>, else nothing."""
        if isinstance(self.tokenizer.bos_token_id, int):
            return self.tokenizer.bos_token_id
        return self.tokenizer.get_vocab().get("<|endoftext|>")

    @property
    def end_of_turn_id(self) -> int:
        """The special token that the chat template writes after an assistant's answer."""
        return self.answer_ids([Message(role="user", content="x")], "y")[-1]

    def text_ids(self, text: str) -> list[int]:
        """Token ids of `text` as it stands; no special token is added."""
        return cast(list[int], self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def prompt_ids(self, messages: list[Message]) -> list[int]:
        """Token ids of a conversation up to the point where the assistant's answer begins."""
        return self.text_ids(self._render(messages, add_generation_prompt=True))

    def answer_ids(self, messages: list[Message], answer: str) -> list[int]:
        """Token ids of `answer` with its end-of-turn token, as the model would generate them after `messages`.

        Raises UnusableChatTemplate if the rendered prompt is no prefix of the rendered conversation, or if no
        special token ends the turn.
        """
        prompt = self._render(messages, add_generation_prompt=True)
        whole = self._render([*messages, Message(role="assistant", content=answer)], add_generation_prompt=False)
        if not whole.startswith(prompt):
            raise UnusableChatTemplate(
                f"{self.tokenizer.name_or_path}: the chat template's generation prompt is not what it writes before "
                "an assistant turn; use a template for which the prompt is a prefix of the whole conversation"
            )
        ids = self.text_ids(whole[len(prompt) :])
        special = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        for index in range(len(ids) - 1, -1, -1):
            if ids[index] in special:
                return ids[: index + 1]
        raise UnusableChatTemplate(
            f"{self.tokenizer.name_or_path}: the chat template writes no special token after an assistant turn, so "
            "an answer has no end; add the end-of-turn token to the template"
        )

    def _render(self, messages: list[Message], *, add_generation_prompt: bool) -> str:
        return cast(
            str,
            self.tokenizer.apply_chat_template(
                as_chat(messages), tokenize=False, add_generation_prompt=add_generation_prompt
            ),
        )


def load_policy(
    base_model: BaseModelRef, adapter: AdapterRef | None, precision: str | None = None, quantization: str = "none"
) -> Policy:
    """Load a base and its adapter for measuring; without a `precision` in bf16 on a GPU, in fp32 on a CPU.

    Threads follow the cores that this process may use, and deterministic kernels are asked for. The sampling
    defaults that a repository ships (temperature, repetition penalty) are dropped: every adapter answers under
    the same rules.

    Raises BaseModelUnavailable, QuantizationUnavailable, WrongBase, WrongStack and CorruptAdapter.
    """
    logging.disable_progress_bar()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.use_deterministic_algorithms(True, warn_only=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = precision or ("bf16" if device.type == "cuda" else "fp32")
    tokenizer = load_tokenizer(base_model)
    # A PeftModel forwards everything that is asked of it here to the model that it wraps.
    model = cast(PreTrainedModel, frozen_policy(base_model, adapter, precision, quantization))
    model.generation_config = GenerationConfig()
    if quantization == "none":  # quantised weights were loaded where they stay
        torch.nn.Module.to(model, device)
    kind = precision if quantization == "none" else quantization
    return Policy(model, tokenizer, device, f"{device.type}/{kind}")
