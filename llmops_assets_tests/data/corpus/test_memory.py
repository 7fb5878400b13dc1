"""The texts of a corpus are never in memory together."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from llmops_assets_tests.data.corpus.test_stages import WORDS

BUILD = """
import resource, sys
from pathlib import Path
from llmops_assets.data.corpus.building import build_corpus
from llmops_assets.data.sources.specs import TextFilesSource
from llmops_assets.data.specs import CorpusSpec
tokenizer, folder = map(Path, sys.argv[1:3])
spec = CorpusSpec(heldout_share=0.01, min_words=5, max_repetition=1)
summary = build_corpus([TextFilesSource(name="t", pattern=sys.argv[3])], spec, tokenizer, folder / "out", folder)
print(summary.counts["kept"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
_DOCUMENT_BYTES = 20_000


@pytest.mark.slow
def test_five_times_the_texts_take_little_more_memory(tmp_path: Path, tokenizer_file: Path) -> None:
    peaks: list[int] = []
    for count in (300, 1500):
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as stream:
            for number in range(count):
                words = random.Random(number).choices(WORDS, k=_DOCUMENT_BYTES // 4)
                stream.write(json.dumps({"text": " ".join(words)}) + "\n")
        command = [sys.executable, "-c", BUILD, str(tokenizer_file), str(tmp_path), path.name]
        kept, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(kept) == count
        peaks.append(int(peak))
    more_texts_mib = 1200 * _DOCUMENT_BYTES / 2**20
    assert peaks[1] - peaks[0] < 0.4 * more_texts_mib, peaks
