"""Near-duplicate removal of this project and of libraries, on texts with planted duplicates: speed, memory, and truth.

    .venv/bin/python -m benchmarks.near_duplicates                            # 20,000 and 100,000 texts
    .venv/bin/python -m benchmarks.near_duplicates --texts 20000 --subjects ours,gaoya

Texts are about 2 KB of words, drawn by their frequency in Python's documentation. One in ten is a copy of an earlier
one with some words replaced, such that their Jaccard similarity (runs of five words, computed exactly) is at least the
threshold; another tenth are copies with a similarity below it, which must stay. Recall is the share of the former for
which a text was dropped, precision the share of the dropped that should be; an original that was dropped in the place
of its copy is right (benchmarks/planted.py). Subjects run one after the other, in processes and environments of their
own; what they print goes to a file beside the texts.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.options import names_of, numbers
from benchmarks.peers.environments import peer_environment
from benchmarks.planted import THRESHOLD, Vocabulary, copy_of, recall_and_precision
from benchmarks.watched import run_watched
from llmops_assets.settings import state_dir

SEED = 7
_SCRIPT = Path(__file__).resolve().parent / "peers" / "drop_duplicates.py"
_TITLES = {
    "ours": "this project",
    "gaoya": "gaoya",
    "rensa": "rensa, R-MinHash",
    "rensa-c": "rensa, C-MinHash",
    "datasketch": "datasketch",
    "datatrove": "datatrove, words by a regular expression",
    "datatrove-spacy": "datatrove, words by spaCy (its default)",
    "text-dedup": "text-dedup",
    "semhash": "semhash",
}
_ENVIRONMENTS = {
    "datatrove": "datatrove",
    "datatrove-spacy": "datatrove",
    "text-dedup": "text_dedup",
    "semhash": "semhash",
}
_DUPLICATES, _NEAR_MISSES = 0.1, 0.1


@dataclass(frozen=True)
class Texts:
    """A file of texts, and for each copy that is at or above the threshold the number of its original."""

    file: Path
    count: int
    original_of: dict[int, int]


@dataclass(frozen=True)
class Result:
    """What one subject did: CPU seconds, peak memory above what it held before, and how right it was.

    Those that read files hold no texts before.
    """

    subject: str
    cpu_seconds: float
    more_mib: float
    recall: float
    precision: float


def main() -> None:
    options = _options()
    folder = state_dir() / "benchmarks" / "near_duplicates"
    folder.mkdir(parents=True, exist_ok=True)
    report: list[str] = []
    for count in options.texts:
        texts = make_texts(folder / f"texts-{count}.jsonl", count)
        results = [run(subject, texts, folder) for subject in options.subjects]
        title = f"## {count:,} texts, {len(texts.original_of):,} planted duplicates"
        report += [title, "", *_table(results, count), ""]
    print("\n".join(report))
    (folder / "report.md").write_text("\n".join(report), encoding="utf-8")


def make_texts(file: Path, count: int) -> Texts:
    """Write `count` texts to `file`; the same for the same count."""
    chance = random.Random(SEED)
    vocabulary = Vocabulary()
    originals: list[tuple[int, list[str]]] = []
    original_of: dict[int, int] = {}
    with file.open("w", encoding="utf-8") as stream:
        for number in range(count):
            draw = chance.random()
            # Copies are made of texts that are no copies, so that each has one original.
            if number > 100 and draw < _DUPLICATES + _NEAR_MISSES:
                original, words = chance.choice(originals)
                words, is_duplicate = copy_of(words, draw < _DUPLICATES, chance)
                if is_duplicate:
                    original_of[number] = original
            else:
                words = vocabulary.text(chance)
                originals.append((number, words))
            stream.write(json.dumps({"number": number, "text": " ".join(words)}, ensure_ascii=False) + "\n")
    return Texts(file, count, original_of)


def run(subject: str, texts: Texts, folder: Path) -> Result:
    """Run one subject on `texts`.

    Raises SubjectFailed.
    """
    python = sys.executable
    if subject != "ours":
        python = peer_environment(_ENVIRONMENTS.get(subject, "dedup")) / "bin" / "python"
    out = folder / f"{subject}-{texts.count}"
    cost = run_watched(subject, [python, _SCRIPT, subject, texts.file, str(THRESHOLD)], out)
    dropped = frozenset(json.loads((out / "dropped.json").read_text(encoding="utf-8")))
    recall, precision = recall_and_precision(dropped, texts.original_of)
    result = Result(
        subject=subject,
        cpu_seconds=cost.cpu_seconds,
        more_mib=(cost.peak_kib - cost.held_kib) / 1024,
        recall=recall,
        precision=precision,
    )
    print(f"{subject}: {texts.count / result.cpu_seconds:,.0f} texts per CPU-second", flush=True)
    return result


def _table(results: list[Result], count: int) -> Iterator[str]:
    ours = next((result.cpu_seconds for result in results if result.subject == "ours"), None)
    yield "| subject | texts / CPU-s | ratio | recall | precision | MiB beside the texts |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for result in results:
        ratio = f"{result.cpu_seconds / ours:.2f}" if ours else ""
        yield (
            f"| {_TITLES[result.subject]} | {count / result.cpu_seconds:,.0f} | {ratio} | {result.recall:.3f} | "
            f"{result.precision:.4f} | {result.more_mib:,.0f} |"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=numbers, default=[20_000, 100_000], metavar="N,N,...")
    parser.add_argument("--subjects", type=names_of(_TITLES), default=list(_TITLES), metavar=",".join(_TITLES))
    return parser.parse_args()


if __name__ == "__main__":
    main()
