"""Whether a teacher reads and writes the student's tokens: ids must mean the same to both."""

import hashlib
import json
from typing import Any

from jinja2 import TemplateError
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmops_assets.errors import LlmopsError

_PROBE = [
    {"role": "user", "content": "question"},
    {"role": "assistant", "content": "answer"},
    {"role": "user", "content": "question"},
]
# Each of them changes logits after the output head, which divergences and recordings multiply with directly.
_LOGIT_TRANSFORMS = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "output_multiplier",
    "lm_head_multiplier",
)


class DifferentTokenizer(LlmopsError):
    """Teacher and student disagree about tokens, or about how a conversation is written in them."""


class UnusableHead(LlmopsError):
    """A model's output head does not give next-token logits over the shared vocabulary."""


def require_same_tokenizer(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase) -> int:
    """Return the size of the vocabulary that both models share: `len(tokenizer)`, whatever their heads are padded to.

    Raises DifferentTokenizer, which says what differs: vocabulary, merges, added and special tokens, how text is split,
    or how the chat template renders.
    """
    ours, theirs = _parts(student), _parts(teacher)
    differences = [
        f"{name} ({_detail(ours[name], theirs[name])})" for name in ours if _digest(ours[name]) != _digest(theirs[name])
    ]
    if differences:
        raise DifferentTokenizer(
            f"the teacher's tokenizer ({teacher.name_or_path}) is not the student's ({student.name_or_path}): they "
            f"differ in {'; '.join(differences)}. Choose a teacher of the student's family, or method: sequence, which "
            "learns from the teacher's text"
        )
    return len(student)


def output_head(model: PreTrainedModel, vocabulary: int) -> nn.Linear:
    """Return the linear layer that makes `model`'s logits; its first `vocabulary` rows are the shared tokens.

    Raises UnusableHead if it has fewer rows, or if the architecture scales or caps logits behind it.
    """
    config, head = model.config.get_text_config(), model.get_output_embeddings()
    changed = [key for key in _LOGIT_TRANSFORMS if getattr(config, key, None) not in (None, 1, 1.0)]
    if changed or not isinstance(head, nn.Linear):
        raise UnusableHead(
            f"{model.config.name_or_path}: {type(model).__name__} does more than a linear layer to make logits "
            f"({', '.join(changed) or type(head).__name__}); distil it with method: sequence"
        )
    rows = int(getattr(head.weight, "ds_shape", head.weight.shape)[0])
    if rows < vocabulary:
        raise UnusableHead(
            f"{model.config.name_or_path}: the output head has {rows} rows, the tokenizer {vocabulary} tokens; resize "
            "the model's embeddings to its tokenizer"
        )
    return head


def _parts(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The content of tokenizer.json that decides about ids, and the rendering of a conversation."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise DifferentTokenizer(
            f"{tokenizer.name_or_path}: has no tokenizer.json, so it cannot be compared; convert it to a fast tokenizer"
        )
    content = json.loads(backend.to_str())
    model = content["model"]
    return {
        "vocabulary": model.pop("vocab", None),
        "merges": [pair.split(" ") if isinstance(pair, str) else pair for pair in model.pop("merges", None) or []],
        "added and special tokens": content["added_tokens"],
        "how text is split into tokens": [model, content["normalizer"], content["pre_tokenizer"]],
        "the rendering of the chat template": _rendered(tokenizer),
    }


def _rendered(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    if tokenizer.chat_template is None:
        return ["no chat template"]
    return [_render(tokenizer, _PROBE), _render(tokenizer, [{"role": "system", "content": "rules"}, *_PROBE])]


def _render(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> str:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        # Some templates refuse a system message; two that refuse it with the same words agree.
        return f"refused: {error}"


def _digest(part: Any) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode("utf-8")).hexdigest()


def _detail(ours: Any, theirs: Any) -> str:
    return f"student {_summary(ours)}, teacher {_summary(theirs)}"


def _summary(part: Any) -> str:
    return f"{len(part):,} entries with sha256 {_digest(part)[:12]}"
