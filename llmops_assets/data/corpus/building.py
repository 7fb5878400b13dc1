"""Builds a CPT corpus: documents in, train chunks and whole held-out documents out, each rejection with a reason."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.corpus.balance import beyond_limit, token_limits
from llmops_assets.data.corpus.chunks import Chunking
from llmops_assets.data.corpus.documents import Documents, batches
from llmops_assets.data.corpus.leaks import leaking
from llmops_assets.data.corpus.rows import Rows, write_files
from llmops_assets.data.corpus.screening import Screened, Screening
from llmops_assets.data.corpus.splitting import contained, heldout, units
from llmops_assets.data.duplicates.contained_runs import CONTAINED_SHARE, RUN_WORDS
from llmops_assets.data.duplicates.dedup import compare
from llmops_assets.data.evals.decontamination import EvalIndex
from llmops_assets.data.normalize import SpecialTokenGuard
from llmops_assets.data.quarantine import Quarantine
from llmops_assets.data.records import Reason
from llmops_assets.data.sets.data_set import DataSetFiles, DataSetSummary
from llmops_assets.data.sources.reading import license_of, read_corpus_source, source_hash
from llmops_assets.data.sources.specs import CorpusSource
from llmops_assets.data.specs import CorpusSpec
from llmops_assets.data.tokens import TokenCounter, token_histogram, tokens_per_row
from llmops_assets.data.workers import ThisProcess, Workers
from llmops_assets.errors import LlmopsError

# What the recipe says of a reason to leave a document out.
_KEYS: dict[Reason, tuple[str, ...]] = {
    Reason.TOO_SHORT: ("min_words",),
    Reason.TOO_LONG: ("max_words",),
    Reason.REPETITIVE: ("max_repetition", "gopher_repetition"),
    Reason.WORD_LENGTH: ("min_word_characters", "max_word_characters"),
    Reason.SYMBOLS: ("max_symbols",),
    Reason.BULLETS: ("max_bullet_lines",),
    Reason.ELLIPSES: ("max_ellipsis_lines",),
    Reason.FEW_LETTERS: ("min_alphabetic_words",),
    Reason.FEW_STOP_WORDS: ("min_stop_words",),
    Reason.BOILERPLATE: ("max_boilerplate_lines",),
    Reason.LANGUAGE: ("languages", "min_language_probability"),
    Reason.PERSONAL_DATA: ("pii",),
    Reason.NEAR_DUPLICATE: ("near_duplicate_threshold",),
}


class EmptyCorpusError(LlmopsError):
    """No document is left to train on, or none to hold out."""


def build_corpus(
    sources: Sequence[CorpusSource],
    spec: CorpusSpec,
    tokenizer_file: Path,
    out_dir: Path,
    base_dir: Path,
    eval_items: Path | None = None,
    workers: Workers | None = None,
) -> DataSetSummary:
    """Read, clean, filter, deduplicate, split, chunk and balance `sources` into the files of `DataSetFiles(out_dir)`.

    train.jsonl holds chunks of at most `spec.chunk_tokens` tokens, heldout.jsonl whole documents, documents.jsonl every
    kept document with its split, quarantine.jsonl every rejected one. Groups and
    clusters of similar documents never straddle the split, a held-out document of which half is in train is rejected,
    and so is one of train that holds an item of the eval sets in `eval_items`. Same input, same bytes, whatever the
    `workers` (this process, if none are named).

    In memory are some hundred bytes a document, a megabyte of text for each worker, and the runs of words of the
    held-out documents; the rest is on disk in `out_dir`, up to three times the size of the texts.

    Raises MissingSourceError, QuarantineLimitError, UnbalancedSourcesError, or EmptyCorpusError with the counts by
    reason. The quarantine is written in any case.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    files = DataSetFiles(folder=out_dir)
    quarantine = Quarantine()
    with tempfile.TemporaryDirectory(prefix=".corpus-", dir=out_dir) as scratch:
        build = CorpusBuild(spec, TokenCounter(tokenizer_file), Path(scratch), quarantine, workers or ThisProcess())
        try:
            build.screen(sources, base_dir)
            quarantine.check(spec.max_quarantined_share, where="corpus")
            related = build.deduplicate()
            build.split(related)
            if eval_items is not None:
                build.decontaminate(EvalIndex.load(eval_items))
            build.drop_contained()
            build.check_not_empty(files)
            build.cut()
            build.balance()
            build.check_not_empty(files)
            write_files(files, build.rows, build.documents, build.is_heldout)
        finally:
            quarantine.write(files.quarantine)
            build.close()
        summary = build.summary(sources, base_dir)
    return summary


class CorpusBuild:
    """The state of one build, with texts under `folder`; its methods are the stages, called in their order."""

    def __init__(
        self, spec: CorpusSpec, counter: TokenCounter, folder: Path, quarantine: Quarantine, workers: Workers
    ) -> None:
        self.spec, self.counter, self.quarantine, self.workers = spec, counter, quarantine, workers
        self.screening = Screening(spec, SpecialTokenGuard(counter.special_tokens))
        self.documents = Documents(folder, self.screening.bands)
        self.rows = Rows(folder)
        self.is_heldout: NDArray[np.bool_] = np.zeros(0, bool)
        self.unit_of: NDArray[np.int64] = np.zeros(0, np.int64)
        self.totals = Screened()

    def screen(self, sources: Sequence[CorpusSource], base_dir: Path) -> None:
        records = (record for source in sources for record in read_corpus_source(source, base_dir))
        for screened in self.workers.map(self.screening, batches(records, self.quarantine.read)):
            self.documents.add(screened)
            for entry in screened.quarantined:
                self.quarantine.add(entry)
            self.totals.neutralized += screened.neutralized
            self.totals.masked += screened.masked
            self.totals.languages += screened.languages

    def deduplicate(self) -> list[tuple[int, int]]:
        """Drop duplicates; return pairs of others that are alike."""
        spec, documents = self.spec, self.documents
        found = compare(documents.bands, documents.bodies, spec.near_duplicate_threshold, spec.cluster_similarity)
        for duplicate in found.duplicates:
            detail = f"Jaccard similarity {duplicate.similarity:.2f} with {documents.identity(duplicate.kept)}"
            documents.drop(duplicate.index, duplicate.reason, detail, self.quarantine)
        return found.related

    def split(self, related: list[tuple[int, int]]) -> None:
        documents, kept = self.documents, np.flatnonzero(self.documents.kept)
        self.is_heldout = np.zeros(len(documents), bool)
        place = np.full(len(documents), -1)
        place[kept] = np.arange(len(kept))
        groups = documents.groups[kept]
        self.unit_of = np.full(len(documents), -1)
        self.unit_of[kept] = units(groups, [(int(place[left]), int(place[right])) for left, right in related])
        self.is_heldout[kept] = heldout(self.unit_of[kept], groups, documents.draws[kept], self.spec.heldout_share)

    def decontaminate(self, index: EvalIndex) -> None:
        """Drop the documents of train that hold an eval item; from the held-out ones nothing is learned."""
        for number, leak in leaking(self.documents, self._train(), index, self.workers):
            self.documents.drop(number, Reason.CONTAMINATED, str(leak), self.quarantine)

    def drop_contained(self) -> None:
        """Drop the held-out documents that train teaches word for word."""
        documents, held = self.documents, np.flatnonzero(self.documents.kept & self.is_heldout).tolist()
        for number, share in contained(documents, held, self._train(), self.workers):
            if share >= CONTAINED_SHARE:
                detail = f"{share:.0%} of its runs of {RUN_WORDS} words occur in train"
                documents.drop(number, Reason.CONTAINED_IN_TRAIN, detail, self.quarantine)

    def _train(self) -> list[int]:
        return np.flatnonzero(self.documents.kept & ~self.is_heldout).tolist()

    def cut(self) -> None:
        chunking = Chunking(self.counter, self.spec.chunk_tokens, self.spec.chunk_overlap)
        self.rows.cut(self.documents, self.is_heldout, chunking, self.workers)

    def balance(self) -> None:
        documents, tokens = self.documents, self.rows.tokens_of(self.documents)
        of_train = documents.kept & ~self.is_heldout
        held = {name: int(tokens[of_train & documents.of_source(name)].sum()) for name in self.quarantine.read}
        for name, limit in token_limits(held, self.spec).items():
            if held[name] <= limit + 0.5:
                continue
            numbers = np.flatnonzero(of_train & documents.of_source(name))
            beyond = beyond_limit(tokens[numbers], documents.lots[numbers], limit)
            for number in numbers[beyond].tolist():
                detail = f"{tokens[number]} tokens beyond the {limit:,.0f} that {name} may have of {held[name]:,}"
                documents.drop(number, Reason.BEYOND_SHARE, detail, self.quarantine)

    def check_not_empty(self, files: DataSetFiles) -> None:
        kept = self.documents.kept
        train, held = int((kept & ~self.is_heldout).sum()), int((kept & self.is_heldout).sum())
        if train and held:
            return
        read = ", ".join(f"{name} {count}" for name, count in self.quarantine.read.items()) or "nothing"
        reasons = ", ".join(f"{name} {count}" for name, count in self.quarantine.by_reason().items()) or "none"
        if train:
            raise EmptyCorpusError(
                f"the corpus has nothing to hold out: all {train} kept documents are of one group or alike "
                f"(read: {read}; quarantined: {reasons}). Add documents, or split the file into several"
            )
        if held:
            raise EmptyCorpusError(
                f"the corpus has nothing to train on, and {held} held-out documents (read: {read}; quarantined: "
                f"{reasons}; see {files.quarantine}). Check corpus.max_source_tokens and max_source_share, or eval_sets"
            )
        raise EmptyCorpusError(
            f"the corpus is empty: no document is left (read: {read}; quarantined: {reasons}; see {files.quarantine}). "
            f"Check the recipe's {' and '.join(self._keys_to_check())}"
        )

    def _keys_to_check(self) -> list[str]:
        """Return the keys of the recipe that say what may stay, by the reason that most documents left for."""
        most = next(iter(self.quarantine.by_reason()), None)
        return [f"corpus.{key}" for key in (*_KEYS.get(Reason(most), ()), "sources")] if most else ["corpus.sources"]

    def summary(self, sources: Sequence[CorpusSource], base_dir: Path) -> DataSetSummary:
        kept = self.documents.kept
        train = (kept & ~self.is_heldout)[self.rows.document_of]
        held = (kept & self.is_heldout)[self.rows.document_of]
        tokens = self.rows.tokens
        of_documents = self.rows.tokens_of(self.documents) * kept
        of_train = of_documents * ~self.is_heldout
        return DataSetSummary(
            counts={
                "read": self.quarantine.read.total(),
                "kept": int(kept.sum()),
                "train_documents": int((kept & ~self.is_heldout).sum()),
                "train": int(train.sum()),
                "heldout": int(held.sum()),
                "groups": len(np.unique(self.documents.groups[kept])),
                "clusters": len(np.unique(self.unit_of[kept])),
                "neutralized_markers": self.totals.neutralized,
                "quarantined": len(self.quarantine),
                "malformed": self.quarantine.malformed(),
            },
            quarantined=self.quarantine.by_reason(),
            masked=dict(sorted(self.totals.masked.items())),
            languages=dict(self.totals.languages.most_common()),
            sources={
                source.name: {
                    "read": self.quarantine.read[source.name],
                    "kept": self.quarantine.read[source.name] - self.quarantine.rejected(source.name),
                    "tokens": int(of_documents[self.documents.of_source(source.name)].sum()),
                    "train_tokens": int(of_train[self.documents.of_source(source.name)].sum()),
                }
                for source in sources
            },
            source_hashes={source.name: source_hash(source, base_dir) for source in sources},
            licenses={source.name: license_of(source) for source in sources},
            tokens={"train": int(tokens[train].sum()), "heldout": int(tokens[held].sum())},
            tokens_per_row=tokens_per_row(tokens[train].tolist()),
            token_histogram=token_histogram(tokens[train].tolist()),
        )

    def close(self) -> None:
        self.documents.close()
        self.rows.close()
