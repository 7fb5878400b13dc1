"""Runs one library over texts that it holds in memory, and writes which it would drop and what that cost.

    python drop_duplicates.py SUBJECT TEXTS.jsonl THRESHOLD OUT.json

Started in the environment of its subject. Every peer gets lower-cased runs of five words, drops a text that is like an
earlier one that stayed, and is used as its own documentation shows. CPU seconds are those of the whole process, all
threads, between the reading of the texts and the last answer.
"""

import json
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS, PERMUTATIONS = 5, 128
_WORD = re.compile(r"\w+")


def shingles(text: str) -> list[str]:
    """Return the distinct runs of five words."""
    words = _WORD.findall(text.lower())
    return list({" ".join(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))})


def ours(texts: list[str], threshold: float) -> list[int]:
    from llmops_assets.data.dedup import find_duplicates

    return [duplicate.index for duplicate in find_duplicates(texts, threshold)]


def rensa(texts: list[str], threshold: float) -> list[int]:
    from rensa import RMinHash, RMinHashLSH  # pyright: ignore

    def signature_of(text: str) -> RMinHash:
        signature = RMinHash(num_perm=PERMUTATIONS, seed=42)
        signature.update(shingles(text))
        return signature

    return _verified(texts, threshold, signature_of, RMinHashLSH(threshold, PERMUTATIONS, num_bands=16))


def rensa_c(texts: list[str], threshold: float) -> list[int]:
    from rensa import CMinHash, CMinHashDeduplicator  # pyright: ignore

    index = CMinHashDeduplicator(threshold, num_perm=PERMUTATIONS, seed=42)
    dropped = []
    for number, text in enumerate(texts):
        signature = CMinHash(num_perm=PERMUTATIONS, seed=42)
        signature.update(shingles(text))
        if index.is_duplicate(str(number), signature):
            dropped.append(number)
        else:
            index.add(str(number), signature)
    return dropped


def gaoya(texts: list[str], threshold: float) -> list[int]:
    from gaoya.minhash import MinHashStringIndex  # pyright: ignore[reportMissingImports]

    index = MinHashStringIndex(
        hash_size=32,
        jaccard_threshold=threshold,
        num_bands=25,
        band_size=5,
        analyzer="word",
        lowercase=True,
        ngram_range=(WORDS, WORDS),
        id_container="smallvec",
    )
    dropped = []
    for number, text in enumerate(texts):
        if index.query(text):
            dropped.append(number)
        else:
            index.insert_document(number, text)
    return dropped


def datasketch(texts: list[str], threshold: float) -> list[int]:
    from datasketch import MinHash, MinHashLSH  # pyright: ignore[reportMissingImports]

    def signature_of(text: str) -> MinHash:
        signature = MinHash(num_perm=PERMUTATIONS)
        signature.update_batch([shingle.encode() for shingle in shingles(text)])
        return signature

    return _verified(texts, threshold, signature_of, MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS))


def _verified(texts: list[str], threshold: float, signature_of: Callable[[str], Any], index: Any) -> list[int]:
    """Drop the texts whose signature is like that of an earlier one that stayed and shares a band with it."""
    kept: dict[int, Any] = {}
    dropped = []
    for number, text in enumerate(texts):
        signature = signature_of(text)
        if any(signature.jaccard(kept[other]) >= threshold for other in index.query(signature)):
            dropped.append(number)
        else:
            index.insert(number, signature)
            kept[number] = signature
    return dropped


SUBJECTS: dict[str, Callable[[list[str], float], list[int]]] = {
    "ours": ours,
    "rensa": rensa,
    "rensa-c": rensa_c,
    "gaoya": gaoya,
    "datasketch": datasketch,
}


def cpu_seconds() -> float:
    """Return user and system time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    name, file, threshold, out = sys.argv[1:]
    with Path(file).open(encoding="utf-8") as stream:
        texts = [json.loads(line)["text"] for line in stream]
    held = _peak_kib()
    before = cpu_seconds()
    dropped = SUBJECTS[name](texts, float(threshold))
    result = {"cpu_seconds": cpu_seconds() - before, "peak_kib": _peak_kib(), "texts_kib": held, "dropped": dropped}
    Path(out).write_text(json.dumps(result), encoding="utf-8")


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
