"""Token counts with the base model's own tokenizer, through the Rust library: no torch, no transformers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from llmops_assets.data.records import Message
from llmops_assets.errors import LlmopsError

_SMALLEST_BAND = 32


class TokenizerNotFoundError(LlmopsError):
    """The tokenizer of a base model is neither on disk nor to be had from the hub."""


class TokenCounter:
    """Counts tokens of texts and conversations with one `tokenizer.json`."""

    def __init__(self, tokenizer_file: Path) -> None:
        if not tokenizer_file.is_file():
            raise TokenizerNotFoundError(
                f"{tokenizer_file}: no such tokenizer; the base model's folder must hold tokenizer.json"
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        except Exception as error:  # the Rust binding raises bare Exception
            raise TokenizerNotFoundError(f"{tokenizer_file} is not a tokenizer.json: {error}") from error
        # A truncation or padding setting stored in the file would falsify counts.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @property
    def special_tokens(self) -> list[str]:
        """The control tokens of the tokenizer, such as `<|im_end|>`."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        return sorted(token.content for token in added if token.special)

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, without those that a model adds around it."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def count_all(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def token_starts(self, text: str) -> list[int]:
        """Return the place in `text` at which each of its tokens starts; tokens of one character have one place."""
        return [start for start, _ in self._tokenizer.encode(text, add_special_tokens=False).offsets]

    def count_conversation(self, messages: Iterable[Message]) -> int:
        """Return the number of tokens of a conversation in ChatML; other templates differ by a few per turn."""
        return self.count("".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in messages))


def find_tokenizer_file(model: str, revision: str | None = None) -> Path:
    """Return the `tokenizer.json` of a base model: of a local folder, or of a hub repository at `revision`.

    Raises TokenizerNotFoundError if there is none, or if the hub cannot be reached and has not been cached.
    """
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "tokenizer.json").is_file():
            raise TokenizerNotFoundError(
                f"{folder} holds no tokenizer.json; save the fast tokenizer beside the weights"
            )
        return folder / "tokenizer.json"
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(model, "tokenizer.json", revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        where = f"{model}@{revision}" if revision else model
        raise TokenizerNotFoundError(
            f"tokenizer.json of base model {where}: no such folder, and the hub did not give it ({error}). "
            "Check the name and the network, set HF_TOKEN for a gated model, or name a local folder"
        ) from error


def tokens_per_row(counts: Sequence[int]) -> dict[str, int]:
    """Return the least, mean (rounded) and most tokens of a row, and what half and 95 % of the rows do not exceed."""
    ordered = sorted(counts)
    quantiles = {f"p{percent}": ordered[-(-percent * len(ordered) // 100) - 1] for percent in (50, 95)}
    return {"min": ordered[0], "mean": round(sum(ordered) / len(ordered)), **quantiles, "max": ordered[-1]}


def token_histogram(counts: Iterable[int]) -> dict[str, int]:
    """Return the number of rows in bands that double in width: '1-32', '33-64', '65-128', ..."""
    bands = Counter(max(_SMALLEST_BAND, 1 << max(0, count - 1).bit_length()) for count in counts)
    return {f"{1 if top == _SMALLEST_BAND else top // 2 + 1}-{top}": bands[top] for top in sorted(bands)}
