"""The largest micro step that a stage allows: how many tokens pass the model at once, and what keeps texts apart."""

from dataclasses import dataclass
from typing import Literal

from llmops_assets.training.specs import AnyStageSpec

AttentionMemory = Literal["causal", "masked", "documents", "prefixes", "scores"]
"""What attention keeps for its backward pass, by how it is computed; `attention_bytes` has the bytes of each.

causal: a kernel without a mask. masked: scaled_dot_product_attention with a [length, length] mask. documents: one
kernel call per text, or flash attention on padded rows, neither with a mask. prefixes: prefix sharing. scores: eager.
"""


@dataclass(frozen=True)
class Batch:
    """One micro step as the model sees it: `rows` x `length` tokens. `pairs` share their prefixes inside one row."""

    rows: int
    length: int
    attention: AttentionMemory = "causal"
    pairs: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of the micro step, padding included."""
        return self.rows * self.length


def batch_of(spec: AnyStageSpec) -> Batch:
    """Return the largest micro step that `spec` allows: every text has `max_length` tokens.

    DPO has two texts per pair. KTO's passes for its KL term keep no activations. By `batching`, the worst case is:

    - padded: one row per text. Padding adds nothing to texts of `max_length`, but one shorter text brings the mask.
    - padding_free, packed and CPT: as many tokens, in a single row. A mask over it has the square of all its tokens.
    - prefix_sharing: answers that differ from the first token on, so nothing is shared. What is saved in fact is the
      prompt, which no spec bounds from below.
    """
    texts = spec.batch_size * (2 if spec.stage == "dpo" else 1)
    batching = _batching(spec)
    if batching == "prefix_sharing":
        return Batch(rows=1, length=texts * spec.max_length, attention="prefixes", pairs=spec.batch_size)
    if batching == "padded":
        return Batch(rows=texts, length=spec.max_length, attention=_in_padded_rows(spec, texts))
    # A row that was packed when it was prepared may hold any number of texts, a padding-free one those of the step.
    several = batching == "packed" or texts > 1
    return Batch(rows=1, length=texts * spec.max_length, attention=_in_one_row(spec, several=several))


def _batching(spec: AnyStageSpec) -> str:
    if spec.stage == "cpt":
        return "packed"
    return "padded" if spec.stage == "kto" else spec.batching


def _in_padded_rows(spec: AnyStageSpec, rows: int) -> AttentionMemory:
    """`auto` is taken for sdpa: whether flash attention is there is known on the GPU's machine alone.

    Rows are padded on the right, where `segments` needs no mask. Flash attention takes the padding out, and its result
    back in.
    """
    if spec.attention == "eager":
        return "scores"
    if rows == 1 or spec.attention == "segments":
        return "causal"
    return "documents" if spec.attention.startswith("flash") else "masked"


def _in_one_row(spec: AnyStageSpec, *, several: bool) -> AttentionMemory:
    """`auto` is taken for segments, which keeps more than flash attention: that hands out its result as it is."""
    if spec.attention == "eager":
        return "scores"
    if not several or spec.attention.startswith("flash"):
        return "causal"
    return "masked" if spec.attention == "sdpa" else "documents"
