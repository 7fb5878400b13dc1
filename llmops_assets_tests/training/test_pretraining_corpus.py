"""Which documents of a package reach the base model's pretraining, and how wheels are found."""

import zipfile
from pathlib import Path

import pytest

from llmops_assets.base_model import embedded_base_model_path
from llmops_assets.training.pretraining_corpus import build_corpus
from llmops_assets.training.pretraining_sources import (
    SOURCE_PACKAGES,
    PackageFiles,
    PretrainingSourceError,
    SourcePackage,
    locate_package,
)

SOURCE = SourcePackage("tinydocs", "1.0", "MIT", ("tinydocs",))
README = "Tinydocs is a package whose only purpose is to be read by a test of the corpus builder."


def _package(root: Path, functions: dict[str, str]) -> PackageFiles:
    package = root / "tinydocs"
    package.mkdir(parents=True)
    body = "\n\n".join(f'def {name}(value):\n    """{docstring}"""' for name, docstring in functions.items())
    (package / "__init__.py").write_text(body, encoding="utf-8")
    (package / "LICENSE.txt").write_text(
        "Permission is hereby granted, free of charge, to any person.", encoding="utf-8"
    )
    return PackageFiles(SOURCE, (package,), README)


def _library(root: Path) -> Path:
    library = root / "library"
    library.mkdir()
    (library / "copying.py").write_text('"""Shallow and deep copies of everything that there is."""', encoding="utf-8")
    return library


def test_short_duplicate_numeric_and_standard_library_documents_are_dropped_and_counted(tmp_path: Path) -> None:
    files = _package(
        tmp_path,
        {
            "useful": "Return the useful part of the value, if it has one.",
            "repeated": "Return  the useful part of THE value, if it has one.",
            "tiny": "Short.",
            "table": "0x11 0x22 0x33 0x44 0x55 0x66 0x77 0x88 0x99 0x12 0x23 0x34 0x45",
            "copied": "Shallow and deep copies of everything that there is.",
            "wide": "word " * 400,
        },
    )

    corpus = build_corpus([files], standard_library=_library(tmp_path))

    assert sorted(document.text for document in corpus.train + corpus.held_out) == [
        README,
        "tinydocs.useful(value)\n\nReturn the useful part of the value, if it has one.",
    ]
    assert dict(corpus.dropped) == {
        "duplicate": 1,
        "short": 1,
        "little prose": 1,
        "in the standard library": 1,
        "machine-generated": 1,
    }


def test_about_one_document_in_a_hundred_is_held_out_and_stays_so_when_others_are_added(tmp_path: Path) -> None:
    words = ["north", "south", "east", "west", "above", "below", "left", "right", "near", "far"]
    names = [f"{a}_{b}_{c}" for a in words for b in words for c in words]
    functions = {name: f"Return the value that lies {name.replace('_', ' then ')} of the origin." for name in names}
    library = _library(tmp_path)

    whole = build_corpus([_package(tmp_path / "whole", functions)], standard_library=library)
    half = build_corpus([_package(tmp_path / "half", dict(list(functions.items())[::2]))], standard_library=library)

    held_out = {document.text for document in whole.held_out}
    assert 2 <= len(held_out) <= 25
    assert {document.text for document in half.held_out} <= held_out
    assert not held_out & {document.text for document in half.train}


def test_a_wheel_in_the_download_folder_is_unpacked_without_its_binaries(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tinydocs-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tinydocs/__init__.py", '"""Tiny."""')
        wheel.writestr("tinydocs/fast.so", "binary")
        wheel.writestr("tinydocs-1.0.dist-info/METADATA", f"Name: tinydocs\nVersion: 1.0\n\n{README}\n")

    files = locate_package(SOURCE, tmp_path)

    assert files.description == README
    assert [path.name for path in files.directories[0].iterdir()] == ["__init__.py"]


def test_a_module_that_the_wheel_lacks_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tinydocs-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("elsewhere/__init__.py", "")
    with pytest.raises(PretrainingSourceError, match=r"tinydocs 1\.0: no package 'tinydocs'"):
        locate_package(SOURCE, tmp_path)


def test_the_model_card_lists_every_source_package_with_version_and_licence() -> None:
    card = (embedded_base_model_path() / "README.md").read_text(encoding="utf-8")
    missing = [
        source.name
        for source in SOURCE_PACKAGES
        if f"| {source.name} | {source.version} | {source.licence} |" not in card
    ]
    assert missing == []
