"""The base model's tokenizer: lossless, reproducible, with a chat template that trains the stop token."""

import pytest
from jinja2.exceptions import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.chat_template_utils import has_generation_markers, is_chat_template_stop_token_trained

from llmops_assets.base_model import embedded_base_model_path
from llmops_assets.training.tokenizer_training import train_tokenizer

TEXTS = ["def mean(a, axis=None):\n    Return the arithmetic mean along the given axis.\n"] * 3
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is a mean?"},
    {"role": "assistant", "content": "A sum divided by a count."},
    {"role": "user", "content": "And a sum?"},
    {"role": "assistant", "content": "A total."},
]


def test_any_text_survives_encoding_and_decoding() -> None:
    tokenizer = train_tokenizer(TEXTS, vocab_size=300, context_length=64)
    text = "naïve →\t\tx[1234] = 'ß'\r\n\n    🙂 don't"

    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) == 300
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 2)


def test_equal_texts_give_equal_tokenizers() -> None:
    first, second = (train_tokenizer(TEXTS, 300, 64).backend_tokenizer.to_str() for _ in range(2))
    assert first == second


def test_the_shipped_template_masks_answers_with_their_stop_token_in_every_turn() -> None:
    tokenizer = AutoTokenizer.from_pretrained(embedded_base_model_path())

    rendered = tokenizer.apply_chat_template(
        CONVERSATION, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = rendered["input_ids"], rendered["assistant_masks"]

    trained = [token for token, is_trained in zip(ids, mask, strict=True) if is_trained]
    assert tokenizer.decode(trained) == "A sum divided by a count.<|im_end|>A total.<|im_end|>"
    assert tokenizer.decode(ids).startswith(
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is a mean?"
    )
    assert has_generation_markers(tokenizer.chat_template)
    assert is_chat_template_stop_token_trained(tokenizer)


def test_the_generation_prompt_is_the_prefix_of_the_answered_conversation() -> None:
    tokenizer = AutoTokenizer.from_pretrained(embedded_base_model_path())

    prompt = tokenizer.apply_chat_template(CONVERSATION[:2], tokenize=False, add_generation_prompt=True)

    assert tokenizer.apply_chat_template(CONVERSATION[:3], tokenize=False).startswith(prompt + "A sum")


def test_an_unknown_role_is_refused_by_name() -> None:
    tokenizer = AutoTokenizer.from_pretrained(embedded_base_model_path())
    with pytest.raises(TemplateError, match="critic"):
        tokenizer.apply_chat_template([{"role": "critic", "content": "Bad."}], tokenize=False)


def test_the_shipped_model_fits_its_tokenizer_and_the_size_limit() -> None:
    path = embedded_base_model_path()
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)

    assert model.config.model_type == "qwen2"
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert sum(file.stat().st_size for file in path.iterdir()) <= 25_000_000
