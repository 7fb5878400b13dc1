"""Builds a CPT corpus: documents in, train chunks and whole held-out documents out, each rejection with a reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llmops_assets.data.chunking import chunk
from llmops_assets.data.contamination import CONTAINED_SHARE, RUN_WORDS, contained_shares
from llmops_assets.data.filters import reason_to_drop
from llmops_assets.data.jsonl import excerpt, write_json, write_jsonl
from llmops_assets.data.normalize import SpecialTokenGuard
from llmops_assets.data.quarantine import Quarantine
from llmops_assets.data.records import Document, QuarantinedRecord, Reason
from llmops_assets.data.sources import license_of, read_corpus_source, source_hash
from llmops_assets.data.specs import CorpusSource, CorpusSpec, DataSetFiles, DataSetSummary
from llmops_assets.data.splits import Split, split_groups
from llmops_assets.data.tokens import TokenCounter, token_histogram, tokens_per_row
from llmops_assets.errors import LlmopsError

Row = dict[str, str | int]


class EmptyCorpusError(LlmopsError):
    """No document is left to train on, or none to hold out."""


def build_corpus(
    sources: Sequence[CorpusSource], spec: CorpusSpec, tokenizer_file: Path, out_dir: Path, base_dir: Path
) -> DataSetSummary:
    """Read, normalize, filter, deduplicate, split and chunk `sources` into the files of `DataSetFiles(out_dir)`.

    train.jsonl holds chunks of at most `spec.chunk_tokens` tokens, heldout.jsonl whole documents, documents.jsonl every
    kept document with its split, quarantine.jsonl every rejected one, summary.json the returned summary. Groups never
    straddle the split, and a held-out document of which half is in train is rejected. Same input, same bytes.

    Raises MissingSourceError, QuarantineLimitError, or EmptyCorpusError with the counts by reason; the quarantine is
    then written.
    """
    counter = TokenCounter(tokenizer_file)
    files = DataSetFiles(folder=out_dir)
    quarantine = Quarantine()
    documents, neutralized = _read(sources, base_dir, SpecialTokenGuard(counter.special_tokens), quarantine)
    documents = _without_duplicates(_filtered(documents, spec, quarantine), spec, quarantine)
    splits = split_groups((document.group for document in documents), spec.heldout_share, spec.seed)
    documents = _without_contained(documents, splits, quarantine)
    quarantine.write(files.quarantine)
    quarantine.check(spec.max_quarantined_share, where="corpus")
    train_documents = [document for document in documents if splits[document.group] == "train"]
    heldout_documents = [document for document in documents if splits[document.group] == "heldout"]
    _check_not_empty(train_documents, heldout_documents, quarantine, files)

    train = _train_rows(train_documents, spec.chunk_tokens, counter)
    heldout = _heldout_rows(heldout_documents, counter)
    write_jsonl(files.train, train)
    write_jsonl(files.heldout, heldout)
    write_jsonl(files.documents, (_document_row(document, splits[document.group]) for document in documents))
    summary = DataSetSummary(
        counts={
            "read": quarantine.read.total(),
            "kept": len(documents),
            "train_documents": len(train_documents),
            "train": len(train),
            "heldout": len(heldout),
            "groups": len({document.group for document in documents}),
            "neutralized_markers": neutralized,
            "quarantined": len(quarantine.records),
            "malformed": len(quarantine.malformed()),
        },
        quarantined=quarantine.by_reason(),
        sources=_by_source(sources, quarantine, train, heldout),
        source_hashes={source.name: source_hash(source, base_dir) for source in sources},
        licenses={source.name: license_of(source) for source in sources},
        tokens={"train": _tokens(train), "heldout": _tokens(heldout)},
        tokens_per_row=tokens_per_row([int(row["tokens"]) for row in train]),
        token_histogram=token_histogram(int(row["tokens"]) for row in train),
    )
    write_json(out_dir / "summary.json", summary.model_dump(mode="json"))
    return summary


def _read(
    sources: Sequence[CorpusSource], base_dir: Path, guard: SpecialTokenGuard, quarantine: Quarantine
) -> tuple[list[Document], int]:
    documents: list[Document] = []
    identities: set[str] = set()
    neutralized = 0
    for source in sources:
        for record in read_corpus_source(source, base_dir):
            quarantine.read[source.name] += 1
            if isinstance(record, QuarantinedRecord):
                quarantine.add(record)
            elif record.id in identities:
                quarantine.add(
                    _rejected(record, Reason.DUPLICATE_ID, f"the id {record.id!r} is taken by another record")
                )
            else:
                identities.add(record.id)
                head, in_head = guard.neutralize(record.text[: record.body_start])
                body, in_body = guard.neutralize(record.body)
                neutralized += in_head + in_body
                documents.append(replace(record, text=head + body, body_start=len(head)))
    return documents, neutralized


def _filtered(documents: list[Document], spec: CorpusSpec, quarantine: Quarantine) -> list[Document]:
    kept: list[Document] = []
    for document in documents:
        verdict = reason_to_drop(document.body, spec)
        if verdict is None:
            kept.append(document)
        else:
            quarantine.add(_rejected(document, *verdict))
    return kept


def _without_duplicates(documents: list[Document], spec: CorpusSpec, quarantine: Quarantine) -> list[Document]:
    # numpy is for those who build, not for the code location, which imports this module.
    from llmops_assets.data.dedup import find_duplicates

    duplicates = find_duplicates([document.body for document in documents], spec.near_duplicate_threshold)
    for duplicate in duplicates:
        detail = f"Jaccard similarity {duplicate.similarity:.2f} with {documents[duplicate.kept].id}"
        quarantine.add(_rejected(documents[duplicate.index], duplicate.reason, detail))
    dropped = {duplicate.index for duplicate in duplicates}
    return [document for index, document in enumerate(documents) if index not in dropped]


def _without_contained(documents: list[Document], splits: dict[str, Split], quarantine: Quarantine) -> list[Document]:
    """Reject held-out documents that train would teach word for word."""
    heldout = [document for document in documents if splits[document.group] == "heldout"]
    train = (document.text for document in documents if splits[document.group] == "train")
    shares = contained_shares([document.text for document in heldout], train)
    dropped: set[str] = set()
    for document, share in zip(heldout, shares, strict=True):
        if share >= CONTAINED_SHARE:
            detail = f"{share:.0%} of its runs of {RUN_WORDS} words occur in train"
            quarantine.add(_rejected(document, Reason.CONTAINED_IN_TRAIN, detail))
            dropped.add(document.id)
    return [document for document in documents if document.id not in dropped]


def _rejected(document: Document, reason: Reason, detail: str) -> QuarantinedRecord:
    file, _, line = document.origin.rpartition(":")
    name, number = (file, int(line)) if line.isdigit() else (document.origin, 0)
    return QuarantinedRecord(document.source, name, number, reason, detail, excerpt(document.text))


def _check_not_empty(
    train: list[Document], heldout: list[Document], quarantine: Quarantine, files: DataSetFiles
) -> None:
    if train and heldout:
        return
    read = ", ".join(f"{name} {count}" for name, count in quarantine.read.items()) or "nothing"
    reasons = ", ".join(f"{name} {count}" for name, count in quarantine.by_reason().items()) or "none"
    if train or heldout:
        raise EmptyCorpusError(
            f"the corpus has nothing to hold out: all {len(train) + len(heldout)} kept documents are of one group "
            f"(read: {read}; quarantined: {reasons}). Add documents, or split the file into several"
        )
    raise EmptyCorpusError(
        f"the corpus is empty: no document is left (read: {read}; quarantined: {reasons}; see {files.quarantine}). "
        "Check the recipe's corpus.sources, and corpus.min_words when documents are too short"
    )


def _train_rows(documents: list[Document], limit: int, counter: TokenCounter) -> list[Row]:
    pieces: list[tuple[Document, str, str]] = []
    for document, tokens in zip(documents, counter.count_all([d.text for d in documents]), strict=True):
        chunks = [document.text] if tokens <= limit else chunk(document.text, limit, counter.count)
        for number, text in enumerate(chunks, start=1):
            pieces.append((document, document.id if len(chunks) == 1 else f"{document.id}~{number}", text))
    counts = counter.count_all([text for _, _, text in pieces])
    return [_row(doc, identity, text, n) for (doc, identity, text), n in zip(pieces, counts, strict=True)]


def _heldout_rows(documents: list[Document], counter: TokenCounter) -> list[Row]:
    counts = counter.count_all([document.text for document in documents])
    return [_row(doc, doc.id, doc.text, tokens) for doc, tokens in zip(documents, counts, strict=True)]


def _row(document: Document, identity: str, text: str, tokens: int) -> Row:
    return {
        "id": identity,
        "text": text,
        "source": document.source,
        "origin": document.origin,
        "group": document.group,
        "tokens": tokens,
    }


def _document_row(document: Document, split: Split) -> dict[str, object]:
    return {
        "id": document.id,
        "text": document.text,
        "source": document.source,
        "origin": document.origin,
        "group": document.group,
        "license": document.license,
        "split": split,
        "body_start": document.body_start,
        "metadata": dict(document.metadata),
    }


def _by_source(
    sources: Sequence[CorpusSource], quarantine: Quarantine, train: list[Row], heldout: list[Row]
) -> dict[str, dict[str, int]]:
    tokens: Counter[str] = Counter()
    for row in [*train, *heldout]:
        tokens[str(row["source"])] += int(row["tokens"])
    rejected = Counter(record.source for record in quarantine.records)
    return {
        source.name: {
            "read": quarantine.read[source.name],
            "kept": quarantine.read[source.name] - rejected[source.name],
            "tokens": tokens[source.name],
        }
        for source in sources
    }


def _tokens(rows: list[Row]) -> int:
    return sum(int(row["tokens"]) for row in rows)
