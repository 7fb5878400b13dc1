"""From package files to the documents of the embedded base model: rendering, filters, exact dedup, held-out split."""

import hashlib
import re
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llmops_assets.data.sources.docstrings import harvest_package, iter_source_files, render_api_doc
from llmops_assets.training.pretraining_sources import PackageFiles

SHORTEST_DOCUMENT = 40
HELD_OUT_PERCENT = 1
_LONGEST_LINE = 1_000
_LEAST_PROSE_SHARE = 0.6
_SKIPPED_PAGES = re.compile(
    r"licen[cs]e|notice|copying|copyright|change|history|news|release|whatsnew|authors|contributors|requirements|top_level",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class PretrainingDocument:
    """One document. `head` and `body` are name with signature and docstring; a prose page has an empty `head`."""

    head: str
    body: str
    package: str

    @property
    def text(self) -> str:
        return f"{self.head}\n\n{self.body}" if self.head else self.body


@dataclass
class PretrainingCorpus:
    """Documents for training and held out, in a reproducible order, with the number dropped for each reason."""

    train: list[PretrainingDocument] = field(default_factory=list)
    held_out: list[PretrainingDocument] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def build_corpus(packages: Iterable[PackageFiles], *, standard_library: Path | None = None) -> PretrainingCorpus:
    """Read, filter, deduplicate and split the documentation of `packages`.

    Exact duplicates (of the body, with case, digits and white space folded) keep their first occurrence. Documents
    whose body the standard library has too (`standard_library`, by default this interpreter's) are dropped: packages
    copy from it.
    A document is held out by the hash of its body, so that it stays held out when packages come and go.
    """
    library = Path(sysconfig.get_path("stdlib")) if standard_library is None else standard_library
    seen = {_fingerprint(doc.docstring) for doc in harvest_package(library, "stdlib", prefix="")}
    excluded = frozenset(seen)
    corpus = PretrainingCorpus()
    for files in packages:
        for document in _documents(files):
            reason = _reason_to_drop(document)
            fingerprint = _fingerprint(document.body)
            if reason is None and fingerprint in seen:
                reason = "in the standard library" if fingerprint in excluded else "duplicate"
            if reason is not None:
                corpus.dropped[reason] += 1
                continue
            seen.add(fingerprint)
            held_out = int.from_bytes(fingerprint[:4], "big") % 100 < HELD_OUT_PERCENT
            (corpus.held_out if held_out else corpus.train).append(document)
    return corpus


def _documents(files: PackageFiles) -> Iterator[PretrainingDocument]:
    name = files.source.name
    for directory in files.directories:
        for doc in harvest_package(directory, name, prefix=directory.name.lstrip("_")):
            head, _, body = render_api_doc(doc).partition("\n\n")
            yield PretrainingDocument(head, body, name)
        for path in iter_source_files(directory, ".rst", ".md", ".txt"):
            if not _SKIPPED_PAGES.search(path.name):
                yield PretrainingDocument("", path.read_text(encoding="utf-8", errors="replace").strip(), name)
    yield PretrainingDocument("", files.description, name)


def _reason_to_drop(document: PretrainingDocument) -> str | None:
    text = document.text
    if len(text) < SHORTEST_DOCUMENT:
        return "short"
    if max(map(len, text.splitlines())) > _LONGEST_LINE or "\ufffd" in text:
        return "machine-generated"
    letters = sum(character.isalpha() or character == " " for character in document.body)
    if letters < _LEAST_PROSE_SHARE * len(document.body):
        return "little prose"
    return None


def _fingerprint(text: str) -> bytes:
    normalized = re.sub(r"\d+", "0", " ".join(text.casefold().split()))
    return hashlib.sha256(normalized.encode("utf-8")).digest()
