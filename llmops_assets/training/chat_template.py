"""Which tokens of a conversation are trained: the chat template's generation markers, read once and checked."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from transformers import PreTrainedTokenizerBase

from llmops_assets.errors import LlmopsError

Message = dict[str, Any]

_PROBE: list[Message] = [
    {"role": "user", "content": "question"},
    {"role": "assistant", "content": "answer"},
    {"role": "user", "content": "question"},
]


class UntrainableTemplate(LlmopsError):
    """The tokenizer's chat template does not say which tokens the assistant writes, or leaves out its stop token."""


def require_trainable_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make sure that the template marks what the assistant writes, the end-of-turn token included.

    A template without `{% generation %}` markers is replaced by TRL's training version of the same template, which
    renders the same text; `tokenizer.chat_template` is changed.

    Raises UntrainableTemplate if there is no such version, if it renders other text, or if the stop token carries no
    loss: a model trained with such a template never learns to end its answer.
    """
    from trl.chat_template_utils import (
        get_training_chat_template,
        has_generation_markers,
        is_chat_template_stop_token_trained,
    )

    original = tokenizer.chat_template
    if original is None:
        raise UntrainableTemplate(
            "the base model's tokenizer has no chat template; choose an instruct model, or add a chat_template.jinja "
            "with generation markers beside its tokenizer"
        )
    if not has_generation_markers(original):
        rendered = tokenizer.apply_chat_template(_PROBE, tokenize=False)
        try:
            tokenizer.chat_template = get_training_chat_template(tokenizer)
        except ValueError as error:
            raise UntrainableTemplate(
                "the chat template has no {% generation %} markers and is none that TRL knows; put "
                "{% generation %}...{% endgeneration %} around the assistant's text and its end-of-turn token"
            ) from error
        if tokenizer.apply_chat_template(_PROBE, tokenize=False) != rendered:
            raise UntrainableTemplate(
                "TRL's training version of the chat template renders other text than the base model's own; add "
                "{% generation %} markers to the base model's template"
            )
    if not is_chat_template_stop_token_trained(tokenizer):
        raise UntrainableTemplate(
            "the chat template leaves the assistant's end-of-turn token outside its {% generation %} markers, so the "
            "model would never learn to stop; move {% endgeneration %} behind that token"
        )


def assistant_mask(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
    """Render a conversation: token ids, and for each token 1 if the assistant writes it (it carries loss), else 0.

    Both lists have the length of the rendered conversation. An assistant's turn with `weight` 0 carries no loss. The
    template must have passed `require_trainable_template`.

    Raises UntrainableTemplate if a turn has weight 0 and the template does not render every turn.
    """
    rendered: Any = tokenizer.apply_chat_template(
        [{key: text for key, text in message.items() if key != "weight"} for message in messages],
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    ids, mask = list(rendered["input_ids"]), list(rendered["assistant_masks"])
    weights = [message.get("weight", 1) for message in messages if message["role"] == "assistant"]
    return ids, mask if all(weights) else _weighted(mask, weights)


def _weighted(mask: list[int], weights: list[int]) -> list[int]:
    """Return `mask` without the runs of 1 of those turns whose weight is 0; turns of others stand between the runs."""
    turn_of = list(accumulate(int(now > before) for before, now in pairwise([0, *mask])))
    if turn_of[-1] != len(weights):
        raise UntrainableTemplate(
            f"the chat template renders {turn_of[-1]} of {len(weights)} assistant turns, so that it cannot be told "
            "which of them has weight 0; use a template that renders them all, or leave out such rows"
        )
    return [trained and weights[turn - 1] for trained, turn in zip(mask, turn_of, strict=True)]


def conversation_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, answer_follows: bool = False
) -> list[int]:
    """Return the token ids of a conversation; `answer_follows` ends it with the opening of an assistant turn."""
    rendered: Any = tokenizer.apply_chat_template(
        list(messages), tokenize=True, return_dict=True, add_generation_prompt=answer_follows
    )
    return list(rendered["input_ids"])
