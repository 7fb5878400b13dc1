"""Which teachers a student may learn from: padding does not matter, meaning does."""

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from llmops_assets.training.distillation.vocabulary import (
    DifferentTokenizer,
    UnusableHead,
    output_head,
    require_same_tokenizer,
)
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.model import load_tokenizer
from llmops_assets_tests.training.distillation.conftest import PADDED_VOCABULARY, World


def changed(world: World, folder: Path, edit) -> PreTrainedTokenizerBase:
    """The student's tokenizer, with its tokenizer.json edited."""
    load_tokenizer(world.student).save_pretrained(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    edit(content)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return load_tokenizer(BaseModelRef(name=str(folder), digest=""))


def test_a_padded_teacher_shares_the_tokenizers_vocabulary(world: World) -> None:
    student, teacher = load_tokenizer(world.student), load_tokenizer(world.teacher)
    shared = require_same_tokenizer(student, teacher)
    model = AutoModelForCausalLM.from_pretrained(world.teacher.name)
    assert shared == len(student) < PADDED_VOCABULARY
    assert output_head(model, shared).weight.shape[0] == PADDED_VOCABULARY


def test_two_swapped_tokens_are_named(world: World, tmp_path: Path) -> None:
    def swap(content: dict) -> None:
        vocab = content["model"]["vocab"]
        first, second = [token for token, index in vocab.items() if index in (300, 301)]
        vocab[first], vocab[second] = vocab[second], vocab[first]

    with pytest.raises(DifferentTokenizer, match="differ in vocabulary") as error:
        require_same_tokenizer(load_tokenizer(world.student), changed(world, tmp_path, swap))
    assert "merges" not in str(error.value)
    assert "method: sequence" in str(error.value)


def test_other_merges_are_named(world: World, tmp_path: Path) -> None:
    def drop(content: dict) -> None:
        content["model"]["merges"].pop()

    with pytest.raises(DifferentTokenizer, match="differ in merges"):
        require_same_tokenizer(load_tokenizer(world.student), changed(world, tmp_path, drop))


def test_another_special_token_is_named(world: World, tmp_path: Path) -> None:
    other = load_tokenizer(world.student)
    other.add_special_tokens({"additional_special_tokens": ["<|tool|>"]})
    with pytest.raises(DifferentTokenizer, match="differ in added and special tokens"):
        require_same_tokenizer(load_tokenizer(world.student), other)


def test_another_chat_format_is_named_but_generation_markers_are_not(world: World) -> None:
    student, other = load_tokenizer(world.student), load_tokenizer(world.student)
    markers = str(other.chat_template)
    other.chat_template = markers.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    require_same_tokenizer(student, other)
    other.chat_template = markers.replace("message['role'] + '\\n'", "message['role'] + ': '")
    with pytest.raises(DifferentTokenizer, match="differ in the rendering of the chat template"):
        require_same_tokenizer(student, other)


def test_a_head_smaller_than_the_tokenizer_or_with_capped_logits_is_refused(world: World) -> None:
    model = AutoModelForCausalLM.from_pretrained(world.student.name)
    rows = output_head(model, 1).weight.shape[0]
    with pytest.raises(UnusableHead, match=f"has {rows} rows, the tokenizer {rows + 1} tokens"):
        output_head(model, rows + 1)
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(UnusableHead, match="final_logit_softcapping"):
        output_head(model, rows)
