"""The stage that looks at each document alone: neutralizes markers, masks personal data, filters, and hashes."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.corpus.rejection import rejected
from llmops_assets.data.duplicates.dedup import SHINGLE_WORDS, band_rows
from llmops_assets.data.duplicates.minhash import BINS, band_keys
from llmops_assets.data.duplicates.shingles import Hashes, shingled
from llmops_assets.data.duplicates.word_batches import batches_of_words
from llmops_assets.data.normalize import SpecialTokenGuard
from llmops_assets.data.quality.filters import verdicts
from llmops_assets.data.quality.language import language_of
from llmops_assets.data.quality.pii import Masker
from llmops_assets.data.records import Document, QuarantinedRecord, Reason
from llmops_assets.data.specs import CorpusSpec
from llmops_assets.data.splits import draw


@dataclass
class Screened:
    """What became of a batch of records. Arrays and `lines` have an entry per document that passed, in order.

    `lines` are rows of documents.jsonl without their split; `keys` are [documents, bands]; `groups` are hashes of the
    names of groups, `draws` their draws for the split, `lots` the draws of the documents themselves.
    """

    lines: list[bytes] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    keys: Hashes = field(default_factory=lambda: np.zeros((0, 0), np.uint64))
    groups: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    draws: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    lots: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    quarantined: list[QuarantinedRecord] = field(default_factory=list)
    neutralized: int = 0
    masked: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Screening:
    """Looks at batches of records; those that are quarantined already pass through."""

    spec: CorpusSpec
    guard: SpecialTokenGuard

    @property
    def bands(self) -> int:
        """How many band keys a document has."""
        return BINS // band_rows(self.spec.near_duplicate_threshold)

    def __call__(self, records: list[Document | QuarantinedRecord]) -> Screened:
        screened = Screened()
        documents = [self._cleaned(record, screened) for record in records if isinstance(record, Document)]
        verdict_of, keys = self._judged([document.body for document, _ in documents], screened)
        kept: list[Document] = []
        judged = iter(zip(documents, verdict_of, strict=True))
        passed: list[bool] = []
        for record in records:
            if isinstance(record, QuarantinedRecord):
                screened.quarantined.append(self._masked(record))
                continue
            (document, found), verdict = next(judged)
            if found and self.spec.pii == "drop":
                verdict = verdict or (Reason.PERSONAL_DATA, _counted(found))
            passed.append(verdict is None)
            if verdict is None:
                kept.append(document)
                screened.masked += found
            else:
                screened.quarantined.append(rejected(document, *verdict))
        self._fill(screened, kept, keys[np.array(passed, bool)])
        return screened

    def _cleaned(self, document: Document, screened: Screened) -> tuple[Document, Counter[str]]:
        head, in_head = self.guard.neutralize(document.text[: document.body_start])
        body, in_body = self.guard.neutralize(document.body)
        screened.neutralized += in_head + in_body
        metadata = {key: self.guard.neutralize(value)[0] for key, value in document.metadata.items()}
        masker = Masker(self.spec.phone_region)
        if self.spec.pii == "keep":
            return replace(document, text=head + body, body_start=len(head), metadata=metadata), masker.found
        head, body = masker.mask(head), masker.mask(body)
        found = Counter(masker.found)
        metadata = {key: masker.mask(value) for key, value in metadata.items()}
        text, names = head + body, {"id": self._masked_name(document.id), "group": self._masked_name(document.group)}
        return replace(document, text=text, body_start=len(head), metadata=metadata, **names), found

    def _masked_name(self, name: str) -> str:
        """Return a name without personal data, which stays another than that of others."""
        masked = Masker(self.spec.phone_region).mask(name)
        return name if masked == name else f"{masked}-{hashlib.sha256(name.encode('utf-8')).hexdigest()[:12]}"

    def _masked(self, record: QuarantinedRecord) -> QuarantinedRecord:
        """Return a record that was rejected before, without the personal data that its excerpt may show."""
        if self.spec.pii == "keep":
            return record
        masker = Masker(self.spec.phone_region)
        return replace(record, detail=masker.mask(record.detail), excerpt=masker.mask_excerpt(record.excerpt))

    def _judged(self, bodies: list[str], screened: Screened) -> tuple[list[tuple[Reason, str] | None], Hashes]:
        """Return a verdict, and [bands] of keys, for each body."""
        found: list[tuple[Reason, str] | None] = []
        keys = [np.zeros((0, self.bands), np.uint64)]
        rows = band_rows(self.spec.near_duplicate_threshold)
        for words in batches_of_words(bodies):
            found += verdicts(words, self.spec)
            keys.append(band_keys(shingled(words, SHINGLE_WORDS), rows))
        if self.spec.languages is not None:
            found = [verdict or self._foreign(body, screened) for verdict, body in zip(found, bodies, strict=True)]
        return found, np.concatenate(keys)

    def _foreign(self, body: str, screened: Screened) -> tuple[Reason, str] | None:
        language, probability = language_of(body)
        is_told = probability >= self.spec.min_language_probability
        screened.languages[language if is_told else "none"] += 1
        if is_told and language not in (self.spec.languages or ()):
            return Reason.LANGUAGE, f"its language is {language} at {probability:.0%}, which languages leaves out"
        return None

    def _fill(self, screened: Screened, kept: list[Document], keys: Hashes) -> None:
        screened.lines = [json.dumps(_row(document), ensure_ascii=False).encode("utf-8") for document in kept]
        screened.sources = [document.source for document in kept]
        screened.keys = keys
        screened.groups = np.array([_group_hash(document.group) for document in kept], np.uint64)
        screened.draws = np.array([draw(self.spec.seed, document.group) for document in kept], np.float64)
        screened.lots = np.array([draw(self.spec.seed, document.id) for document in kept], np.float64)


def _counted(found: Counter[str]) -> str:
    return "holds " + ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))


def _group_hash(group: str) -> int:
    return int.from_bytes(hashlib.sha256(group.encode("utf-8")).digest()[:8], "big")


def _row(document: Document) -> dict[str, object]:
    return {
        "id": document.id,
        "text": document.text,
        "source": document.source,
        "origin": document.origin,
        "group": document.group,
        "license": document.license,
        "body_start": document.body_start,
        "metadata": dict(document.metadata),
    }
