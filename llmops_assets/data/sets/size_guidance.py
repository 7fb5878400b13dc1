"""How much data a stage usually wants. Guides disagree, so this says what it found and decides nothing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guidance:
    """A usual range of one kind of set, both ends included, and what to do outside it."""

    unit: str
    least: int
    most: int
    range_text: str
    too_few: str
    too_many: str


@dataclass(frozen=True, slots=True)
class SizeRemark:
    """What there is to say about the size of a set. `enough` is false below the range; above it, that is a remark."""

    enough: bool
    sentence: str


GUIDANCE = {
    "corpus": Guidance(
        "tokens",
        10_000_000,
        100_000_000,
        "10 to 100 million tokens; for a new domain some name 100 million to 10 billion and more",
        "Add sources, or expect style and terms to be learnt rather than knowledge: take few epochs, and watch the "
        "held-out perplexity",
        "More is welcome while the held-out perplexity still falls",
    ),
    "sft_set": Guidance(
        "conversations",
        10_000,
        100_000,
        "10,000 to 100,000 conversations",
        "Add sources, or take few epochs and watch the held-out answers; a narrow task in one format can do with less",
        "Past that, quality and mix weigh more than number: weights, near_duplicate_threshold and max_examples thin a "
        "set out",
    ),
    "preference_set": Guidance(
        "pairs",
        100,
        1_000,
        "100 to 1,000 pairs",
        "Collect more votes, or name data sets under preferences.data_sets; on few pairs the gate will hardly decide",
        "Past that, clear contrasts weigh more than number",
    ),
}


def size_remark(asset: str, count: int) -> SizeRemark:
    """Return what to say about `count` of the units of `asset`, one of `GUIDANCE`, in its training split."""
    guidance = GUIDANCE[asset]
    found = f"{count:,} {guidance.unit} to train on"
    if count < guidance.least:
        return SizeRemark(False, f"{found}. Guides name {guidance.range_text}. {guidance.too_few}.")
    if count > guidance.most:
        return SizeRemark(True, f"{found}, more than guides name ({guidance.range_text}). {guidance.too_many}.")
    return SizeRemark(True, f"{found}, as guides name: {guidance.range_text}.")
