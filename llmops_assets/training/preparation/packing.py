"""Packing: whole documents or conversations fill rows of `max_length`, apart from each other by `seq_lengths`."""

from datasets import Dataset
from trl.data_utils import pack_dataset

from llmops_assets.errors import LlmopsError


class TokensLost(LlmopsError):
    """Packing returned another number of tokens than it was given."""


def packed(rows: Dataset, max_length: int) -> Dataset:
    """Return `rows` packed best-fit decreasing, with the lengths of what each row holds as `seq_lengths`.

    What is longer than `max_length` is split, so that no token is lost; TRL's default strategy would throw it away.

    Raises TokensLost.
    """
    result = pack_dataset(rows, max_length, "bfd_split", {"load_from_cache_file": False}).with_format(None)
    given, returned = count_tokens(rows), count_tokens(result)
    if given != returned:
        raise TokensLost(f"packing returned {returned} of {given} tokens; this is a defect, please report it")
    return result


def count_tokens(rows: Dataset) -> int:
    """Return the number of tokens of all rows; padding is not part of a row."""
    return sum(len(ids) for ids in rows["input_ids"])
