"""Which tokens of a conversation carry loss."""

import pytest

from llmops_assets.training.chat_template import (
    UntrainableTemplate,
    assistant_mask,
    require_trainable_template,
)
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.model import load_tokenizer

from .conftest import CHATML

TWO_TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What does copy do?"},
    {"role": "assistant", "content": "Return the copy."},
    {"role": "user", "content": "And sort?"},
    {"role": "assistant", "content": "Return the list."},
]
# (text, trained): the conversation above, cut where the loss begins and ends.
EXPECTED = [
    ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat does copy do?<|im_end|>\n", 0),
    ("<|im_start|>assistant\n", 0),
    ("Return the copy.<|im_end|>", 1),
    ("\n<|im_start|>user\nAnd sort?<|im_end|>\n<|im_start|>assistant\n", 0),
    ("Return the list.<|im_end|>", 1),
    ("\n", 0),
]


def test_loss_mask_of_a_two_turn_conversation_token_by_token(base: BaseModelRef) -> None:
    tokenizer = load_tokenizer(base)
    expected_ids, expected_mask = [], []
    for text, trained in EXPECTED:
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        expected_ids += tokens
        expected_mask += [trained] * len(tokens)
    ids, mask = assistant_mask(tokenizer, TWO_TURNS)
    assert ids == expected_ids
    assert mask == expected_mask


def test_every_assistant_turn_trains_its_stop_token(base: BaseModelRef) -> None:
    tokenizer = load_tokenizer(base)
    ids, mask = assistant_mask(tokenizer, TWO_TURNS)
    stops = [index for index, token in enumerate(ids) if token == tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert [mask[index] for index in stops] == [0, 0, 1, 0, 1]


def test_turn_of_weight_zero_is_rendered_and_carries_no_loss(base: BaseModelRef) -> None:
    tokenizer = load_tokenizer(base)
    ids, mask = assistant_mask(tokenizer, TWO_TURNS)
    first = [{**turn, "weight": 0} if turn["content"] == "Return the copy." else turn for turn in TWO_TURNS]
    without_first, of_second = assistant_mask(tokenizer, first)
    assert without_first == ids
    assert str(tokenizer.decode([token for token, trained in zip(ids, of_second, strict=True) if trained])) == (
        "Return the list.<|im_end|>"
    )
    last = [*TWO_TURNS[:-1], {**TWO_TURNS[-1], "weight": 0}]
    of_first = assistant_mask(tokenizer, last)[1]
    assert [one + other for one, other in zip(of_first, of_second, strict=True)] == mask


def test_weights_need_a_template_that_renders_every_turn(base: BaseModelRef) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = CHATML.replace("for message in messages", "for message in messages[3:]")
    assert tokenizer.chat_template != CHATML
    with pytest.raises(UntrainableTemplate, match="renders 1 of 2 assistant turns"):
        assistant_mask(tokenizer, [*TWO_TURNS[:-1], {**TWO_TURNS[-1], "weight": 0}])


def test_template_with_the_stop_token_outside_the_markers_is_refused(base: BaseModelRef) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = CHATML.replace(
        "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}",
        "{{ message['content'] }}{% endgeneration %}{{ '<|im_end|>\\n' }}",
    )
    assert tokenizer.chat_template != CHATML
    with pytest.raises(UntrainableTemplate, match="never learn to stop"):
        require_trainable_template(tokenizer)


def test_unknown_template_without_markers_is_refused(base: BaseModelRef) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    with pytest.raises(UntrainableTemplate, match="generation"):
        require_trainable_template(tokenizer)


def test_tokenizer_without_a_template_is_refused(base: BaseModelRef) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = None
    with pytest.raises(UntrainableTemplate, match="no chat template"):
        require_trainable_template(tokenizer)


def test_trainable_template_is_left_as_it_is(base: BaseModelRef) -> None:
    tokenizer = load_tokenizer(base)
    require_trainable_template(tokenizer)
    assert tokenizer.chat_template == CHATML
