"""Builds an SFT set: conversations in, train and eval splits of `messages` out, nothing rejected without a reason."""

from collections.abc import Sequence
from pathlib import Path

from llmops_assets.data.conversations import (
    ConversationIntake,
    answer_keys,
    corpus_documents,
    question_key,
    rejected,
    without_leaks,
)
from llmops_assets.data.jsonl import write_json, write_jsonl
from llmops_assets.data.qa_extraction import GENERATOR
from llmops_assets.data.quarantine import Quarantine
from llmops_assets.data.records import Conversation, Reason, row_hash
from llmops_assets.data.sources import source_hash
from llmops_assets.data.specs import DataSetFiles, DataSetSummary, ExtractedSource, SftSetSpec, SftSource
from llmops_assets.data.splits import Split, pick, split_groups
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
    eval_items: Path | None = None,
) -> DataSetSummary:
    """Read or extract conversations into the files of `DataSetFiles(out_dir)`; heldout.jsonl is the eval set.

    Extracted pairs are on the side on which the corpus in `corpus_dir` has their document, so that what eval asks
    about is new to the CPT adapter and to the SFT adapter; all others are split by group. No group, question or
    answer of eval is in train. Train holds no item of the eval sets in `eval_items`; the eval split may, for nothing is
    learned from it. Same input, same bytes.

    Raises MissingSourceError, QuarantineLimitError, or EmptySftSetError with the counts by reason; the quarantine is
    then written.
    """
    files = DataSetFiles(folder=out_dir)
    intake = ConversationIntake(spec, TokenCounter(tokenizer_file))
    splits: dict[str, Split] = {}
    for source in sources:
        if isinstance(source, ExtractedSource):
            splits |= intake.extract(source, corpus_dir)
        else:
            intake.read(source, base_dir)
    splits |= split_groups((c.group for c in intake.kept if c.group not in splits), spec.eval_share, spec.seed)
    train = [c for c in intake.kept if splits[c.group] == "train"]
    if eval_items is not None:
        # numpy is for those who build, not for the code location, which imports this module.
        from llmops_assets.data.decontamination import EvalIndex

        train = without_leaks(train, EvalIndex.load(eval_items), intake.quarantine)
    heldout = _unseen([c for c in intake.kept if splits[c.group] == "heldout"], train, intake.quarantine)
    train = pick(train, spec.max_examples, spec.seed, key=lambda c: c.id)
    heldout = pick(heldout, spec.max_eval_examples, spec.seed, key=lambda c: c.id)
    intake.quarantine.write(files.quarantine)
    intake.quarantine.check(spec.max_quarantined_share, where="sft_set")
    if not train or not heldout:
        raise EmptySftSetError(_empty(train, heldout, intake.quarantine, files))
    write_jsonl(files.train, ({**c.to_row(), "tokens": intake.tokens[c.id]} for c in train))
    write_jsonl(files.heldout, ({**c.to_row(), "tokens": intake.tokens[c.id]} for c in heldout))
    hashes = {source.name: _hash(source, corpus_dir, base_dir) for source in sources}
    summary = _summary(hashes, intake, train, heldout)
    write_json(out_dir / "summary.json", summary.model_dump(mode="json"))
    return summary


def _unseen(heldout: list[Conversation], train: list[Conversation], quarantine: Quarantine) -> list[Conversation]:
    """Return the held-out conversations whose first question and last answer train has in no turn."""
    questions = {question_key(conversation): conversation.id for conversation in train}
    answers = {key: conversation.id for conversation in train for key in answer_keys(conversation)}
    kept: list[Conversation] = []
    for conversation in heldout:
        twin = questions.get(question_key(conversation)) or answers.get(answer_keys(conversation)[-1])
        if twin is None:
            kept.append(conversation)
        else:
            detail = f"the question or the answer is that of {twin}"
            quarantine.add(rejected(conversation, Reason.CONTAINED_IN_TRAIN, detail))
    return kept


def _empty(train: list[Conversation], heldout: list[Conversation], quarantine: Quarantine, files: DataSetFiles) -> str:
    read = ", ".join(f"{name} {count}" for name, count in quarantine.read.items()) or "nothing"
    reasons = ", ".join(f"{name} {count}" for name, count in quarantine.by_reason().items()) or "none"
    what = "no conversation to train on" if not train else "no conversation to evaluate with"
    return (
        f"the SFT set has {what} (train {len(train)}, eval {len(heldout)}; read: {read}; quarantined: {reasons}; "
        f"see {files.quarantine}). Check the recipe's sft_set.sources, and sft_set.max_tokens when rows are too long"
    )


def _hash(source: SftSource, corpus_dir: Path | None, base_dir: Path) -> str:
    if isinstance(source, ExtractedSource):
        return row_hash(list(corpus_documents(source, corpus_dir)))
    return source_hash(source, base_dir)


def _summary(
    hashes: dict[str, str], intake: ConversationIntake, train: list[Conversation], heldout: list[Conversation]
) -> DataSetSummary:
    used = [*train, *heldout]
    return DataSetSummary(
        counts={
            "read": intake.quarantine.read.total(),
            "kept": len(intake.kept),
            "train": len(train),
            "heldout": len(heldout),
            "multi_turn": sum(len(c.spans) > 1 for c in used),
            "extracted": sum(c.generator == GENERATOR for c in used),
            "neutralized_markers": intake.neutralized,
            "quarantined": len(intake.quarantine),
            "malformed": intake.quarantine.malformed(),
        },
        quarantined=intake.quarantine.by_reason(),
        formats={name: dict(sorted(counts.items())) for name, counts in intake.formats.items()},
        sources={name: _source_counts(name, intake, used) for name in hashes},
        source_hashes=hashes,
        licenses=intake.licenses,
        tokens={
            name: sum(intake.tokens[c.id] for c in side) for name, side in (("train", train), ("heldout", heldout))
        },
        tokens_per_row=tokens_per_row([intake.tokens[c.id] for c in train]),
        token_histogram=token_histogram(intake.tokens[c.id] for c in train),
    )


def _source_counts(name: str, intake: ConversationIntake, used: list[Conversation]) -> dict[str, int]:
    rows = [conversation for conversation in used if conversation.source == name]
    return {
        "read": intake.quarantine.read[name],
        "kept": len(rows),
        "tokens": sum(intake.tokens[conversation.id] for conversation in rows),
        "documents_without_answer": intake.documents_without_answer[name],
    }
