"""Training of the embedded base model's byte-level BPE tokenizer, and its ChatML template."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from llmops_assets.base_model import embedded_base_model_path

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
END_OF_TEXT_ID, TURN_START_ID, TURN_END_ID = range(3)

# Qwen2's splitting rule: words with the space before them, single digits, runs of punctuation, line breaks with the
# indentation in front of them. https://huggingface.co/Qwen/Qwen2.5-0.5B/blob/main/tokenizer.json
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int, context_length: int) -> PreTrainedTokenizerFast:
    """Train a lossless byte-level BPE tokenizer of `vocab_size` entries on `texts` and give it the ChatML template.

    Special tokens: `<|endoftext|>` (id 0) separates documents and pads, `<|im_start|>` (1) opens a turn, `<|im_end|>`
    (2) ends it and is the end-of-sequence token. The result is a function of the texts: training has no randomness.
    """
    tokenizer = Tokenizer(models.BPE())
    # transformers loads the tokenizer of a Qwen2 model as its own Qwen2 class, which normalizes to NFC; so does this.
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[TURN_START],
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
        chat_template=chat_template(),
    )


def chat_template() -> str:
    """Return the embedded base model's ChatML template (Jinja source with generation markers)."""
    return Path(embedded_base_model_path() / "chat_template.jinja").read_text(encoding="utf-8")
