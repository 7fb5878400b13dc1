"""A small real tokenizer with ChatML markers, and a way to write source files."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llmops_assets.data.corpus.building import build_corpus
from llmops_assets.data.sources.specs import ConversationFilesSource, PythonTopicsSource, TextFilesSource
from llmops_assets.data.specs import CorpusSpec
from llmops_assets.data.tokens import TokenCounter

Source = TypeVar("Source", TextFilesSource, ConversationFilesSource)
MARKERS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=MARKERS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Return the name of the file. Raise an error if it is not there."] * 3, trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def counter(tokenizer_file: Path) -> TokenCounter:
    return TokenCounter(tokenizer_file)


def build_reference_corpus(tokenizer_file: Path, folder: Path) -> Path:
    """Builds the corpus of the language reference in `folder`: real text with sections that topics have in common."""
    spec = CorpusSpec(min_words=8, heldout_share=0.2)
    build_corpus([PythonTopicsSource(name="topics")], spec, tokenizer_file, folder, folder)
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> Path:
    return build_reference_corpus(tokenizer_file, tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def files_source(tmp_path: Path) -> Callable[..., TextFilesSource]:
    """Writes lines to a file in `tmp_path` and returns a source of documents that reads it."""
    return partial(_written, TextFilesSource, tmp_path)


@pytest.fixture
def conversations_source(tmp_path: Path) -> Callable[..., ConversationFilesSource]:
    """Writes lines to a file in `tmp_path` and returns a source of conversations that reads it."""
    return partial(_written, ConversationFilesSource, tmp_path)


def _written(kind: type[Source], folder: Path, name: str, *lines: str | bytes) -> Source:
    raw = [line if isinstance(line, bytes) else line.encode("utf-8") for line in lines]
    (folder / name).write_bytes(b"".join(line + b"\n" for line in raw))
    return kind(name=Path(name).stem, pattern=name, license="CC0-1.0")


@pytest.fixture
def hub_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which is not asked."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "arrow"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "arrow")
    return tmp_path
