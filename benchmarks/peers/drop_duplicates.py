"""Runs one library over a file of texts, and writes which it would drop and what that cost.

    python drop_duplicates.py SUBJECT TEXTS.jsonl THRESHOLD OUT_FOLDER

Started in the environment of its subject, with this project on its path. Every peer is used as its own documentation
shows and, semhash apart, gets lower-cased runs of five words. Libraries that are called with texts get them in memory,
and drop a text that is like an earlier one that stayed. datatrove and text-dedup are given the file, write what is left
to another one, and keep one text of each cluster. CPU seconds are those of the whole process and of those that it
started, all threads, between the reading of the texts (or the start, for those that read files) and the last answer.

semhash compares means of word embeddings, not shingles, so the threshold has no meaning for it: its own is the one that
balances recall and precision here. Its default model is on the hub alone; this one has the static embeddings of
wordllama, which are installed as a package.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.peers.meters import Meter

WORDS, PERMUTATIONS = 5, 128
# A cosine. At 0.9, semhash's default, most of what is dropped is wrong; at 0.98 a third of the copies stays.
SEMHASH_THRESHOLD = 0.95
_WORD = re.compile(r"\w+")


def shingles(text: str) -> list[str]:
    """Return the distinct runs of five words."""
    words = _WORD.findall(text.lower())
    return list({" ".join(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))})


def ours(texts: list[str], threshold: float) -> list[int]:
    from llmops_assets.data.duplicates.dedup import find_duplicates

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


def semhash(texts: list[str], threshold: float) -> list[int]:
    """Drop by SEMHASH_THRESHOLD; `threshold` is of Jaccard similarities."""
    from model2vec import StaticModel  # pyright: ignore[reportMissingImports]
    from safetensors.numpy import load_file
    from semhash import SemHash  # pyright: ignore[reportMissingImports]
    from tokenizers import Tokenizer

    package = find_spec("wordllama")
    assert package is not None and package.origin is not None, "wordllama is in semhash.txt"
    folder = Path(package.origin).parent
    vectors = load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"].astype("float32")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    records = [{"number": number, "text": text} for number, text in enumerate(texts)]
    index = SemHash.from_records(records, columns=["text"], model=StaticModel(vectors, tokenizer))
    return [found.record["number"] for found in index.self_deduplicate(SEMHASH_THRESHOLD).filtered]


def datatrove(file: Path, threshold: float, folder: Path, *, spacy: bool = False) -> Iterator[int]:
    """Drop by the buckets of datatrove_steps, which are made for a threshold of 0.8; it verifies no similarity."""
    from datatrove.pipeline.readers import JsonlReader  # pyright: ignore[reportMissingImports]
    from datatrove.pipeline.writers import JsonlWriter  # pyright: ignore[reportMissingImports]

    from benchmarks.peers.datatrove_steps import drop_near_duplicates, places_in, word_tokenizer

    removals = drop_near_duplicates(
        read=lambda: [JsonlReader(str(file.parent), glob_pattern=file.name)],
        write=[JsonlWriter(str(folder / "kept"), compression=None)],
        folder=folder,
        tokenizer=word_tokenizer(spacy),
    )
    return (place for place in places_in(removals))


def text_dedup(file: Path, threshold: float, folder: Path) -> Iterator[int]:
    options = {
        "path": "json",
        "data_files": file,
        "split": "train",
        "column": "text",
        "ngram": WORDS,
        "threshold": threshold,
        "num_perm": PERMUTATIONS,
        "hash_func": "xxh3",
        "num_proc": 1,
        "cache_dir": folder / "cache",
        "output": folder / "kept",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    subprocess.run([sys.executable, "-m", "text_dedup.minhash", *arguments], check=True)
    return _missing_from(folder / "kept", file)


def _missing_from(kept: Path, file: Path) -> Iterator[int]:
    from datasets import load_from_disk

    numbers = set(load_from_disk(str(kept))["number"])
    with file.open("rb") as lines:
        yield from (number for number, _ in enumerate(lines) if number not in numbers)


SUBJECTS: dict[str, Callable[[list[str], float], Iterable[int]]] = {
    "ours": ours,
    "rensa": rensa,
    "rensa-c": rensa_c,
    "gaoya": gaoya,
    "datasketch": datasketch,
    "semhash": semhash,
}
# Called with the file, the threshold and an empty folder. Their answers are iterators, which read what the library has
# written when they are asked: that is no part of its work.
SUBJECTS_OF_FILES: dict[str, Callable[[Path, float, Path], Iterator[int]]] = {
    "datatrove": datatrove,
    "datatrove-spacy": partial(datatrove, spacy=True),
    "text-dedup": text_dedup,
}


def main() -> None:
    name, file, threshold, out = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    with tempfile.TemporaryDirectory(dir=out) as folder:
        if name in SUBJECTS_OF_FILES:
            meter = Meter()
            dropped = SUBJECTS_OF_FILES[name](file, threshold, Path(folder))
        else:
            texts = _texts(file)
            meter = Meter()
            dropped = SUBJECTS[name](texts, threshold)
        meter.write(out)
        (out / "dropped.json").write_text(json.dumps(list(dropped)), encoding="utf-8")


def _texts(file: Path) -> list[str]:
    with file.open(encoding="utf-8") as stream:
        return [json.loads(line)["text"] for line in stream]


if __name__ == "__main__":
    main()
