"""Near-duplicate removal of this project and of libraries, on texts with planted duplicates: speed, memory, and truth.

    .venv/bin/python -m benchmarks.near_duplicates                            # 20,000 and 100,000 texts
    .venv/bin/python -m benchmarks.near_duplicates --texts 20000 --subjects ours,gaoya

Texts are about 2 KB of words, drawn by their frequency in Python's documentation. One in ten is a copy of an earlier
one with some words replaced, such that their Jaccard similarity (runs of five words, computed exactly) is at least the
threshold; another tenth are copies with a similarity below it, which must stay. Recall is the share of the former that
was dropped, precision the share of the dropped that should be. Subjects run one after the other, in processes and
environments of their own.
"""

import argparse
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from benchmarks.peers.environments import peer_environment
from llmops_assets.settings import state_dir

THRESHOLD = 0.8
SEED = 7
_TITLES = {
    "ours": "this project",
    "gaoya": "gaoya",
    "rensa": "rensa, R-MinHash",
    "rensa-c": "rensa, C-MinHash",
    "datasketch": "datasketch",
}
_SCRIPT = Path(__file__).resolve().parent / "peers" / "drop_duplicates.py"
_WORDS_OF_A_TEXT, _SHINGLE = 330, 5
_DUPLICATES, _NEAR_MISSES = 0.1, 0.1


@dataclass(frozen=True)
class Texts:
    """A file of texts, and the numbers of those that should be dropped."""

    file: Path
    count: int
    planted: frozenset[int]


@dataclass(frozen=True)
class Result:
    """What one subject did: CPU seconds, peak memory above what the texts take, and how right it was."""

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
        report += [f"## {count:,} texts, {len(texts.planted):,} planted duplicates", "", *_table(results, count), ""]
    print("\n".join(report))
    (folder / "report.md").write_text("\n".join(report), encoding="utf-8")


def make_texts(file: Path, count: int) -> Texts:
    """Write `count` texts to `file`; the same for the same count."""
    chance = random.Random(SEED)
    vocabulary, weights = _vocabulary()
    texts: list[list[str]] = []
    planted: set[int] = set()
    with file.open("w", encoding="utf-8") as stream:
        for number in range(count):
            draw = chance.random()
            # Copies are made of texts that are no copies, so that each has one original.
            if number > 100 and draw < _DUPLICATES + _NEAR_MISSES:
                words, is_duplicate = _copy(chance.choice(texts), draw < _DUPLICATES, chance)
                if is_duplicate:
                    planted.add(number)
            else:
                length = max(60, int(chance.gauss(_WORDS_OF_A_TEXT, 60)))
                words = chance.choices(vocabulary, cum_weights=weights, k=length)
                texts.append(words)
            stream.write(json.dumps({"text": " ".join(words)}, ensure_ascii=False) + "\n")
    return Texts(file, count, frozenset(planted))


def _copy(original: list[str], alike: bool, chance: random.Random) -> tuple[list[str], bool]:
    """Return a copy with words replaced, and whether it is at or above the threshold."""
    shingles = len(original) - _SHINGLE + 1
    # A replaced word changes five shingles: J = (n - 5k) / (n + 5k).
    limit = int(shingles * (1 - THRESHOLD) / (1 + THRESHOLD) / _SHINGLE)
    words = list(original)
    replaced = chance.randint(1, limit) if alike else chance.randint(limit + 1, 3 * limit + 1)
    for place in chance.sample(range(len(words)), replaced):
        words[place] = f"changed{chance.randrange(10**9)}"
    return words, _jaccard(original, words) >= THRESHOLD


def _jaccard(left: list[str], right: list[str]) -> float:
    sets = [{tuple(words[i : i + _SHINGLE]) for i in range(len(words) - _SHINGLE + 1)} for words in (left, right)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def _vocabulary() -> tuple[list[str], list[int]]:
    from llmops_assets.data.python_topics import read_python_topics
    from llmops_assets.data.specs import PythonTopicsSource

    documents = read_python_topics(PythonTopicsSource(name="topics"))
    counts = Counter(word for document in documents for word in re.findall(r"\w+", document.text.lower()))
    return list(counts), list(accumulate(counts.values()))


def run(subject: str, texts: Texts, folder: Path) -> Result:
    """Run one subject on `texts`."""
    python = Path(sys.executable) if subject == "ours" else peer_environment("dedup") / "bin" / "python"
    out = folder / f"{subject}-{texts.count}.json"
    command = [str(python), str(_SCRIPT), subject, str(texts.file), str(THRESHOLD), str(out)]
    subprocess.run(command, check=True)
    found = json.loads(out.read_text(encoding="utf-8"))
    dropped = frozenset(found["dropped"])
    right = len(dropped & texts.planted)
    result = Result(
        subject=subject,
        cpu_seconds=found["cpu_seconds"],
        more_mib=(found["peak_kib"] - found["texts_kib"]) / 1024,
        recall=right / len(texts.planted),
        precision=right / len(dropped) if dropped else 1.0,
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
    parser.add_argument("--texts", type=_numbers, default=[20_000, 100_000], metavar="N,N,...")
    parser.add_argument("--subjects", type=_names, default=list(_TITLES), metavar=",".join(_TITLES))
    return parser.parse_args()


def _numbers(value: str) -> list[int]:
    return [int(part) for part in value.split(",")]


def _names(value: str) -> list[str]:
    names = value.split(",")
    if unknown := set(names) - set(_TITLES):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(_TITLES)}")
    return names


if __name__ == "__main__":
    main()
