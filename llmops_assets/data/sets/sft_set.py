"""Builds an SFT set: conversations in, train and eval splits of `messages` out, nothing rejected without a reason."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmops_assets.data.jsonl import write_jsonl
from llmops_assets.data.quarantine import Quarantine
from llmops_assets.data.records import Conversation, Reason, row_hash
from llmops_assets.data.sets.conversation_duplicates import without_near_duplicates
from llmops_assets.data.sets.conversations import ConversationIntake, corpus_documents, generated_rows, without_leaks
from llmops_assets.data.sets.data_set import DataSetFiles, DataSetSummary
from llmops_assets.data.sets.mixing import Mix, asked_shares, mix
from llmops_assets.data.sets.qa_extraction import GENERATOR
from llmops_assets.data.sets.set_sides import classes_of, split_conversations
from llmops_assets.data.sets.set_statistics import conversation_statistics
from llmops_assets.data.sources.reading import source_hash
from llmops_assets.data.sources.specs import ExtractedSource, GeneratedSource, SftSource
from llmops_assets.data.specs import SftSetSpec
from llmops_assets.data.splits import Split, pick
from llmops_assets.data.tokens import TokenCounter, token_histogram, tokens_per_row
from llmops_assets.errors import LlmopsError


class EmptySftSetError(LlmopsError):
    """No conversation is left to train on, or none to evaluate with."""


def build_sft_set(
    sources: Sequence[SftSource],
    spec: SftSetSpec,
    corpus_dir: Path | None,
    tokenizer_file: Path,
    out_dir: Path,
    base_dir: Path,
    generated: Mapping[str, Path] | None = None,
    eval_items: Path | None = None,
) -> DataSetSummary:
    """Read or extract conversations into the files of `DataSetFiles(out_dir)`; heldout.jsonl is the eval set.

    Extracted and grounded pairs are on the side on which the corpus in `corpus_dir` has their document, so that what
    eval asks about is new to the CPT adapter and to the SFT adapter; all others are split by group, or per class. No
    group, question or answer of eval is in train. `generated` has the folder of each kind of generated set. Train holds
    no item of the eval sets in `eval_items`; the eval split may, for nothing is learned from it. Every conversation
    that was read is in a split, in quarantine, or counted by source as `not_drawn`. Same input, same bytes.

    Raises MissingSourceError and NoClassesError; and QuarantineLimitError, EmptySourceError, or EmptySftSetError with
    the counts by reason, when the quarantine is written.
    """
    files = DataSetFiles(folder=out_dir)
    intake = ConversationIntake(spec, TokenCounter(tokenizer_file))
    splits: dict[str, Split] = {}
    for source in sources:
        if isinstance(source, ExtractedSource):
            splits |= intake.extract(source, corpus_dir)
        elif isinstance(source, GeneratedSource):
            splits |= intake.read_generated(source, (generated or {})[source.kind])
        else:
            intake.read(source, base_dir)
    kept = intake.kept
    if spec.near_duplicate_threshold is not None:
        kept = without_near_duplicates(kept, spec.near_duplicate_threshold, intake.quarantine)
    sides = split_conversations(kept, splits, spec, intake.quarantine)
    if eval_items is not None:
        # numpy is for those who build, not for the code location, which imports this module.
        from llmops_assets.data.evals.decontamination import EvalIndex

        sides = replace(sides, train=without_leaks(sides.train, EvalIndex.load(eval_items), intake.quarantine))
    intake.quarantine.write(files.quarantine)
    intake.quarantine.check(spec.max_quarantined_share, where="sft_set")
    if not sides.train or not sides.heldout:
        raise EmptySftSetError(_empty(sides.train, sides.heldout, intake.quarantine, files))
    mixed = _mixed(sides.train, sources, spec, intake)
    joined = {conversation.id for conversation, _ in mixed.rows}
    left_out = [*sides.not_drawn, *(conversation for conversation in sides.train if conversation.id not in joined)]
    intake.not_drawn.update(conversation.source for conversation in left_out)
    held_out = [(conversation, 1) for conversation in sides.heldout]
    write_jsonl(files.train, _rows(mixed.rows, intake))
    write_jsonl(files.heldout, _rows(held_out, intake))
    hashes = {source.name: _hash(source, corpus_dir, base_dir, generated or {}) for source in sources}
    shares = asked_shares(sources)
    statistics = conversation_statistics(
        [c for c, _ in mixed.rows], [intake.tokens[c.id] for c, _ in mixed.rows], intake.counter
    )
    summary = _summary(hashes, intake, [c for c, _ in mixed.rows], sides.heldout).model_copy(
        update={
            "shares": shares,
            "shares_limited_by": mixed.limited_by if shares else None,
            "val_per_class": spec.val_per_class,
            "statistics": statistics,
        }
    )
    return summary


def _mixed(
    train: list[Conversation], sources: Sequence[SftSource], spec: SftSetSpec, intake: ConversationIntake
) -> Mix:
    if asked_shares(sources):
        return mix(train, intake.tokens, sources, spec.max_examples, spec.seed)
    return Mix([(c, 1) for c in pick(train, spec.max_examples, spec.seed, key=lambda c: c.id)], "max_examples")


def _rows(rows: Sequence[tuple[Conversation, int]], intake: ConversationIntake) -> Iterator[dict[str, Any]]:
    """Yield rows of a split; further copies of a conversation have ids of their own."""
    for conversation, copy in rows:
        row = {**conversation.to_row(), "tokens": intake.tokens[conversation.id]}
        yield row if copy == 1 else {**row, "id": f"{conversation.id}#{copy}"}


def _empty(train: list[Conversation], heldout: list[Conversation], quarantine: Quarantine, files: DataSetFiles) -> str:
    read = ", ".join(f"{name} {count}" for name, count in quarantine.read.items()) or "nothing"
    reasons = ", ".join(f"{name} {count}" for name, count in quarantine.by_reason().items()) or "none"
    what = "no conversation to train on" if not train else "no conversation to evaluate with"
    return (
        f"the SFT set has {what} (train {len(train)}, eval {len(heldout)}; read: {read}; quarantined: {reasons}; "
        f"see {files.quarantine}). Check the recipe's sft_set.sources, and sft_set.max_tokens when rows are too long"
    )


def _hash(source: SftSource, corpus_dir: Path | None, base_dir: Path, generated: Mapping[str, Path]) -> str:
    if isinstance(source, ExtractedSource):
        return row_hash(list(corpus_documents(source, corpus_dir)))
    if isinstance(source, GeneratedSource):
        return row_hash(list(generated_rows(generated[source.kind])))
    return source_hash(source, base_dir)


def _summary(
    hashes: dict[str, str], intake: ConversationIntake, train: list[Conversation], heldout: list[Conversation]
) -> DataSetSummary:
    used = [*train, *heldout]
    sources = {name: _source_counts(name, intake, train, heldout) for name in hashes}
    return DataSetSummary(
        counts={
            "read": intake.quarantine.read.total(),
            "kept": len({c.id for c in used}),
            "train": len(train),
            "heldout": len(heldout),
            "multi_turn": sum(len(c.spans) > 1 for c in used),
            "extracted": sum(c.generator == GENERATOR for c in used),
            "repeated": len(train) - len({c.id for c in train}),
            "not_drawn": sum(counts["not_drawn"] for counts in sources.values()),
            "neutralized_markers": intake.neutralized,
            "quarantined": len(intake.quarantine),
            "malformed": intake.quarantine.malformed(),
        },
        quarantined=intake.quarantine.by_reason(),
        formats={name: dict(sorted(counts.items())) for name, counts in intake.formats.items()},
        sources=sources,
        source_hashes=hashes,
        licenses=intake.licenses,
        tokens={
            name: sum(intake.tokens[c.id] for c in side) for name, side in (("train", train), ("heldout", heldout))
        },
        tokens_per_row=tokens_per_row([intake.tokens[c.id] for c in train]),
        token_histogram=token_histogram(intake.tokens[c.id] for c in train),
        classes=classes_of(train, heldout),
        generators=dict(sorted(Counter(c.generator for c in used).items())),
    )


def _source_counts(
    name: str, intake: ConversationIntake, train: list[Conversation], heldout: list[Conversation]
) -> dict[str, int]:
    in_train, in_heldout = ([c for c in side if c.source == name] for side in (train, heldout))
    tokens = [sum(intake.tokens[c.id] for c in side) for side in (in_train, in_heldout)]
    return {
        "read": intake.quarantine.read[name],
        "kept": len({c.id for c in in_train}) + len(in_heldout),
        "quarantined": intake.quarantine.rejected(name),
        "too_long": intake.quarantine.by_reason(name).get(str(Reason.TOO_LONG), 0),
        "not_drawn": intake.not_drawn[name],
        "train": len(in_train),
        "heldout": len(in_heldout),
        "tokens": sum(tokens),
        "train_tokens": tokens[0],
        "documents_without_answer": intake.documents_without_answer[name],
    }
