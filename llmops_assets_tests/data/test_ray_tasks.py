"""A corpus built on a Ray cluster of two nodes is the one that is built here, byte by byte."""

import os
import subprocess
import sys
from pathlib import Path

from llmops_assets_tests.resources.local_ray import two_ray_nodes

BUILD = """
import sys
from pathlib import Path
import ray
from llmops_assets.data.corpus.building import build_corpus
from llmops_assets.data.sources.specs import PythonTopicsSource
from llmops_assets.data.specs import CorpusSpec
from llmops_assets.data.workers import workers_named
tokenizer, out = map(Path, sys.argv[1:])
spec = CorpusSpec(min_words=8, heldout_share=0.2)
build_corpus([PythonTopicsSource(name="topics")], spec, tokenizer, out, out, workers=workers_named("ray:2"))
import time
deadline = time.monotonic() + 30
while ray.available_resources().get("CPU") != 2 and time.monotonic() < deadline:
    time.sleep(0.1)
print(len(ray.nodes()), ray.available_resources().get("CPU"))
"""


def test_a_corpus_built_on_a_cluster_is_the_one_built_here(tmp_path: Path, tokenizer_file: Path, corpus: Path) -> None:
    with two_ray_nodes() as address:
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(tokenizer_file), str(tmp_path)],
            env={**os.environ, "RAY_ADDRESS": address},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "2.0"], "both nodes are there, and no task holds a CPU of them"
    files = sorted(path.name for path in corpus.iterdir())
    assert files == sorted(path.name for path in tmp_path.iterdir())
    for name in files:
        assert (corpus / name).read_bytes() == (tmp_path / name).read_bytes()
