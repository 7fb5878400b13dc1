"""A corpus cleaned by this project and by datatrove: normalize, filter, drop exact and near duplicates, file to file.

    .venv/bin/python -m benchmarks.corpus_pipeline                                   # 20,000, 100,000 and 1,000,000
    .venv/bin/python -m benchmarks.corpus_pipeline --documents 20000 --subjects ours,datatrove

Documents are about 2 KB (benchmarks/planted_corpus.py); the rules are the same for all (benchmarks/peers/
clean_corpus.py). One in ten documents is a near copy of an earlier one, one in twenty the same but for white space, one
in twenty a copy that must stay, one in ten of low quality. Subjects run one after the other, each in a process and an
environment of its own; what they print goes to a file of the state folder.

CPU seconds and peak memory are those of the process and of all that it started. Recall and precision are those of the
duplicates, by clusters (benchmarks/planted.py). A subject that would take hours at a size is left out there, unless
`--all` is given.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.options import names_of, numbers
from benchmarks.peers.environments import peer_environment
from benchmarks.planted import recall_and_precision
from benchmarks.planted_corpus import LOW_QUALITY, Corpus, Kind, make_corpus
from benchmarks.watched import Cost, run_watched
from llmops_assets.settings import state_dir

_ROOT = Path(__file__).resolve().parents[1]
_SCRIPT = _ROOT / "benchmarks" / "peers" / "clean_corpus.py"
_TOKENIZER = _ROOT / "llmops_assets" / "base_model" / "apidocs_qwen2" / "tokenizer.json"


@dataclass(frozen=True)
class Subject:
    """One way to clean a corpus: its name in clean_corpus.py, and the most documents that it does in half an hour."""

    script_name: str
    title: str
    environment: str | None = None
    tokenizer: Path | None = None
    most_documents: int = 1_000_000


SUBJECTS = {
    "ours": Subject("ours", "this project"),
    "ours-corpus": Subject(
        "ours", "this project, with split, chunks and token counts", tokenizer=_TOKENIZER, most_documents=100_000
    ),
    "datatrove": Subject("datatrove", "datatrove, words by a regular expression", "datatrove"),
    "datatrove-spacy": Subject(
        "datatrove-spacy", "datatrove, words by spaCy (its default)", "datatrove", most_documents=20_000
    ),
}


@dataclass(frozen=True)
class Result:
    """What one subject did with one corpus. `lost` documents are good ones that a filter dropped."""

    subject: str
    documents: int
    cpu_seconds: float
    wall_seconds: float
    peak_mib: float
    recall: float
    precision: float
    low_quality: float
    lost: int
    rules: dict[str, int]


def main() -> None:
    options = _options()
    folder = state_dir() / "benchmarks" / "corpus_pipeline"
    results: list[Result] = []
    for count in options.documents:
        # Alone in its folder, which is what datatrove reads.
        file = folder / f"documents-{count}" / "documents.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        corpus = make_corpus(file, count)
        for name in options.subjects:
            if options.all or count <= SUBJECTS[name].most_documents:
                results.append(run(name, corpus, folder / f"{name}-{count}"))
        # A million documents are 2 GB.
        corpus.file.unlink()
    report = "\n".join(_report(results))
    print(report)
    (folder / "report.md").write_text(report, encoding="utf-8")


def run(name: str, corpus: Corpus, folder: Path) -> Result:
    """Let one subject clean `corpus`. Its output is deleted afterwards, as it is as large as the corpus.

    Raises SubjectFailed.
    """
    subject = SUBJECTS[name]
    python = peer_environment(subject.environment) / "bin" / "python" if subject.environment else sys.executable
    cost = run_watched(name, [python, _SCRIPT, subject.script_name, corpus.file, subject.tokenizer or ""], folder)
    result = _judged(name, corpus, cost, json.loads((folder / "answer.json").read_text(encoding="utf-8")))
    shutil.rmtree(folder / "out")
    print(f"{name}: {len(corpus) / result.cpu_seconds:,.0f} of {len(corpus):,} documents per CPU-second", flush=True)
    return result


def _judged(name: str, corpus: Corpus, cost: Cost, found: dict[str, Any]) -> Result:
    recall, precision = recall_and_precision(frozenset(found["duplicates"]), corpus.original_of)
    kinds = [Kind(corpus.kinds[number]) for number in found["filtered"]]
    low = sum(kind in LOW_QUALITY for kind in kinds)
    return Result(
        subject=name,
        documents=len(corpus),
        cpu_seconds=cost.cpu_seconds,
        wall_seconds=cost.wall_seconds,
        peak_mib=cost.peak_kib / 1024,
        recall=recall,
        precision=precision,
        low_quality=low / max(1, sum(Kind(kind) in LOW_QUALITY for kind in corpus.kinds)),
        lost=len(kinds) - low,
        rules=found["rules"],
    )


def _report(results: Sequence[Result]) -> Iterator[str]:
    for count in dict.fromkeys(result.documents for result in results):
        of_size = [result for result in results if result.documents == count]
        yield from (f"## {count:,} documents", "", *_table(of_size), "")
        yield from ("Dropped, by rule:", "")
        for result in of_size:
            counts = ", ".join(f"{rule} {number:,}" for rule, number in sorted(result.rules.items()))
            yield f"- {SUBJECTS[result.subject].title}: {counts}"
        yield ""
    if growth := list(_growth(results)):
        yield from ("## Time at ten times the documents", "", *growth, "")


def _table(results: Sequence[Result]) -> Iterator[str]:
    ours = next((result.cpu_seconds for result in results if result.subject == "ours"), None)
    yield "| subject | documents / CPU-s | ratio | wall s | peak MiB | recall | precision | low quality | lost |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for result in results:
        ratio = f"{result.cpu_seconds / ours:.2f}" if ours else ""
        yield (
            f"| {SUBJECTS[result.subject].title} | {result.documents / result.cpu_seconds:,.0f} | {ratio} | "
            f"{result.wall_seconds:,.1f} | {result.peak_mib:,.0f} | {result.recall:.3f} | {result.precision:.4f} | "
            f"{result.low_quality:.3f} | {result.lost} |"
        )


def _growth(results: Sequence[Result]) -> Iterator[str]:
    by_key = {(result.subject, result.documents): result for result in results}
    for (name, count), small in by_key.items():
        if large := by_key.get((name, 10 * count)):
            yield (
                f"- {SUBJECTS[name].title}, {count:,} to {10 * count:,}: "
                f"{large.cpu_seconds / small.cpu_seconds:.2f} times the CPU seconds, "
                f"{large.wall_seconds / small.wall_seconds:.2f} times the time"
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=numbers, default=[20_000, 100_000, 1_000_000], metavar="N,N,...")
    parser.add_argument("--subjects", type=names_of(SUBJECTS), default=list(SUBJECTS), metavar=",".join(SUBJECTS))
    parser.add_argument("--all", action="store_true", help="run every subject at every size")
    return parser.parse_args()


if __name__ == "__main__":
    main()
