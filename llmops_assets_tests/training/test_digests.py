"""Digests of model weights."""

import hashlib
from pathlib import Path

import pytest

from llmops_assets.training.digests import NoWeights, settings_digest, weights_digest


def test_digest_of_one_file_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    assert weights_digest(tmp_path) == hashlib.sha256(b"weights").hexdigest()


def test_digest_of_shards_depends_on_each_of_them(tmp_path: Path) -> None:
    first, second = tmp_path / "model-1.safetensors", tmp_path / "model-2.safetensors"
    first.write_bytes(b"a")
    second.write_bytes(b"b")
    digest = weights_digest(tmp_path)
    first.write_bytes(b"b")
    second.write_bytes(b"a")
    assert weights_digest(tmp_path) != digest


def test_pickled_weights_are_not_weights(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(NoWeights, match="convert"):
        weights_digest(tmp_path)


def test_settings_beside_the_weights_have_a_digest_of_their_own(tmp_path: Path) -> None:
    found = {settings_digest(tmp_path)}
    for name in ("config.json", "chat_template.jinja", "tokenizer.json", "adapter_config.json"):
        for text in ("{}", "{ }"):
            (tmp_path / name).write_text(text)
            found.add(settings_digest(tmp_path))
    assert len(found) == 9
    (tmp_path / "README.md").write_text("Nothing that an answer depends on.")
    assert settings_digest(tmp_path) in found
