"""Runs one subject's corpus pipeline, JSONL to JSONL, and writes what it dropped and what that cost.

    python clean_corpus.py SUBJECT DOCUMENTS.jsonl TOKENIZER.json|'' OUT_FOLDER

The work is to normalize, filter, and drop exact and near duplicates; documents equal with case and white space folded
are exact ones. Started in the environment of its subject, with this project on its path. The rules are those below for
every subject; where a program can only do something near to a rule, its function says so. CPU seconds are those of this
process and of those that it started, from the start to the last written document, imports included.

datatrove's pipeline: read, normalize (by the function of this project, so that both see the same text), C4, Gopher
quality, Gopher repetition, write, exact signatures; find exact duplicates; MinHash signatures of what is no exact
duplicate; buckets; clusters; read again, drop both sorts of duplicates, write. It keeps no record of what it dropped
and why, this project does.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.meters import Meter
from llmops_assets.data.normalize import comparison_key, normalize_text

THRESHOLD = 0.8
# Gopher's rules as their paper has them (arXiv 2112.11446), those on repetition too, which are datatrove's defaults.
MIN_WORDS, MAX_WORDS = 50, 100_000
MIN_WORD_CHARACTERS, MAX_WORD_CHARACTERS = 3, 10
MAX_SYMBOLS, MAX_BULLET_LINES, MAX_ELLIPSIS_LINES = 0.1, 0.9, 0.3
MIN_ALPHABETIC_WORDS, MIN_STOP_WORDS = 0.8, 2
MAX_BOILERPLATE_LINES = 0.3
TOKENIZER = Path(__file__).resolve().parents[2] / "llmops_assets" / "base_model" / "apidocs_qwen2" / "tokenizer.json"


@dataclass
class Answer:
    """How many documents each rule dropped, and the numbers of those dropped by filters and as duplicates."""

    rules: dict[str, int] = field(default_factory=dict)
    filtered: list[int] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)


# Called with the documents, an empty folder, and a tokenizer file or None. What is returned reads the answer from the
# files that were written: that is no part of the work.
Subject = Callable[[Path, Path, Path | None], Callable[[], Answer]]


def ours(documents: Path, out: Path, tokenizer: Path | None) -> Callable[[], Answer]:
    """This project: the asset's whole `build_corpus` with a tokenizer, else its stages up to the near duplicates.

    A document with many lines of boilerplate is dropped. Splitting and chunking, which `build_corpus` does besides,
    need the token counts.
    """
    from llmops_assets.data.sources.specs import TextFilesSource
    from llmops_assets.data.specs import CorpusSpec

    source = TextFilesSource(name="documents", pattern=str(documents))
    spec = CorpusSpec(
        min_words=MIN_WORDS,
        max_words=MAX_WORDS,
        min_word_characters=MIN_WORD_CHARACTERS,
        max_word_characters=MAX_WORD_CHARACTERS,
        max_symbols=MAX_SYMBOLS,
        max_bullet_lines=MAX_BULLET_LINES,
        max_ellipsis_lines=MAX_ELLIPSIS_LINES,
        min_alphabetic_words=MIN_ALPHABETIC_WORDS,
        min_stop_words=MIN_STOP_WORDS,
        gopher_repetition=True,
        max_boilerplate_lines=MAX_BOILERPLATE_LINES,
        near_duplicate_threshold=THRESHOLD,
    )
    if tokenizer is not None:
        from llmops_assets.data.corpus.building import build_corpus

        build_corpus([source], spec, tokenizer, out, documents.parent)
    else:
        _our_stages(source, spec, out, documents.parent)
    return partial(_our_answer, out / "quarantine.jsonl")


def _our_stages(source: Any, spec: Any, out: Path, base_dir: Path) -> None:
    import numpy as np

    from llmops_assets.data.corpus.building import CorpusBuild
    from llmops_assets.data.corpus.rows import write_documents
    from llmops_assets.data.quarantine import Quarantine
    from llmops_assets.data.tokens import TokenCounter
    from llmops_assets.data.workers import ThisProcess

    quarantine, scratch = Quarantine(), out / "scratch"
    scratch.mkdir()
    build = CorpusBuild(spec, TokenCounter(TOKENIZER), scratch, quarantine, ThisProcess())
    build.screen([source], base_dir)
    build.deduplicate()
    quarantine.write(out / "quarantine.jsonl")
    write_documents(out / "documents.jsonl", build.documents, np.zeros(len(build.documents), bool))


def _our_answer(quarantine: Path) -> Answer:
    answer = Answer()
    rules: Counter[str] = Counter()
    for row in _rows(quarantine):
        rules[row["reason"]] += 1
        if row["reason"] in ("exact_duplicate", "near_duplicate"):
            answer.duplicates.append(row["line"] - 1)
        elif row["reason"] != "contained_in_train":
            answer.filtered.append(row["line"] - 1)
    answer.rules = dict(rules)
    return answer


def datatrove(documents: Path, out: Path, tokenizer: Path | None, *, spacy: bool = False) -> Callable[[], Answer]:
    """datatrove, with one task in one process. A line of boilerplate is dropped, and then what became too short."""
    from datatrove.pipeline.dedup.exact_dedup import (  # pyright: ignore[reportMissingImports]
        ExactDedupConfig,
        ExactDedupFilter,
        ExactDedupSignature,
        ExactFindDedups,
    )
    from datatrove.pipeline.filters import (  # pyright: ignore[reportMissingImports]
        C4QualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.readers import JsonlReader  # pyright: ignore[reportMissingImports]
    from datatrove.pipeline.writers import JsonlWriter  # pyright: ignore[reportMissingImports]

    from benchmarks.peers.datatrove_steps import drop_near_duplicates, run_steps, word_tokenizer

    if tokenizer is not None:
        raise SystemExit("datatrove is compared up to the near duplicates, without token counts")
    language = word_tokenizer(spacy)
    exact = ExactDedupConfig(content_getter=_folded)
    filtered, signatures, doubles = (str(out / name) for name in ("filtered", "exact-signatures", "exact-duplicates"))
    filters = [
        # None of C4's rules about punctuation, sentences and brackets, which this project does not have.
        C4QualityFilter(
            remove_citations=False,
            filter_no_terminal_punct=False,
            min_num_sentences=-1,
            min_words_per_line=-1,
            max_word_length=-1,
            filter_curly_bracket=False,
            language=language,
        ),
        GopherQualityFilter(
            min_doc_words=MIN_WORDS,
            max_doc_words=MAX_WORDS,
            min_avg_word_length=MIN_WORD_CHARACTERS,
            max_avg_word_length=MAX_WORD_CHARACTERS,
            max_symbol_word_ratio=MAX_SYMBOLS,
            max_bullet_lines_ratio=MAX_BULLET_LINES,
            max_ellipsis_lines_ratio=MAX_ELLIPSIS_LINES,
            max_non_alpha_words_ratio=MIN_ALPHABETIC_WORDS,
            min_stop_words=MIN_STOP_WORDS,
            language=language,
        ),
        GopherRepetitionFilter(language=language),
    ]
    read = JsonlReader(str(documents.parent), glob_pattern=documents.name)
    write = JsonlWriter(filtered, compression=None)
    run_steps([read, _normalize, *filters, write, ExactDedupSignature(signatures, exact)], out / "log-filter-quality")
    run_steps([ExactFindDedups(signatures, doubles, exact)], out / "log-exact")
    places = drop_near_duplicates(
        read=lambda: [JsonlReader(filtered), ExactDedupFilter(doubles, exact)],
        write=[JsonlWriter(str(out / "kept"), compression=None)],
        folder=out,
        tokenizer=language,
    )
    return partial(_datatrove_answer, out, places)


def _normalize(data: Iterable[Any], rank: int = 0, world_size: int = 1) -> Iterable[Any]:
    for document in data:
        document.text = normalize_text(document.text)
        yield document


def _folded(document: Any) -> str:
    return comparison_key(document.text)


def _datatrove_answer(out: Path, places: Path) -> Answer:
    from benchmarks.peers.datatrove_steps import places_in

    rules: Counter[str] = Counter()
    for step in json.loads((out / "log-filter-quality" / "stats.json").read_text(encoding="utf-8")):
        for name, count in step["stats"].items():
            if name.startswith("dropped_"):
                rules[name.removeprefix("dropped_")] += count["total"] if isinstance(count, dict) else count
    stayed = [_number(row) for row in _rows(out / "filtered" / "00000.jsonl")]
    kept = {_number(row) for row in _rows(out / "kept" / "00000.jsonl")}
    duplicates = [number for number in stayed if number not in kept]
    near = len(places_in(places))
    rules.update({"exact_duplicate": len(duplicates) - near, "near_duplicate": near})
    filtered = sorted(set(range(_documents_read(out))) - set(stayed))
    return Answer(dict(rules), filtered, duplicates)


def _documents_read(out: Path) -> int:
    first = json.loads((out / "log-filter-quality" / "stats.json").read_text(encoding="utf-8"))[0]
    return first["stats"]["documents"]["total"]


def _number(row: dict[str, Any]) -> int:
    return int(row["id"].rpartition("-")[2])


def _rows(file: Path) -> Iterable[dict[str, Any]]:
    with file.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


SUBJECTS: dict[str, Subject] = {
    "ours": ours,
    "datatrove": datatrove,
    "datatrove-spacy": partial(datatrove, spacy=True),
}


def main() -> None:
    name, documents, tokenizer, folder = sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    out = folder / "out"
    out.mkdir()
    meter = Meter()
    answer = SUBJECTS[name](documents, out, Path(tokenizer) if tokenizer else None)
    meter.write(folder)
    (folder / "answer.json").write_text(json.dumps(asdict(answer())), encoding="utf-8")


if __name__ == "__main__":
    main()
