"""The content-addressed artifact store: assets keep pointers, bytes live here under an fsspec URL."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import fsspec
from filelock import FileLock
from pydantic import Field, ValidationError

from llmops_assets.errors import LlmopsError
from llmops_assets.resources.manifest import FileEntry, Manifest, data_version_of
from llmops_assets.training.digests import file_sha256

MANIFEST = "manifest.json"
# Logs, timings, what was left out, and cards, which say in words what an artifact holds: children are made of none.
VOLATILE_FILES = frozenset(
    {"metrics.jsonl", "training_result.json", "loss_curve.png", "job.json", "quarantine.jsonl", "README.md"}
)


class CorruptArtifact(LlmopsError):
    """An artifact whose files differ from its manifest."""


class ArtifactMissing(LlmopsError):
    """An artifact that a materialization points at, but the store does not have."""


class Artifact:
    """A complete, verified artifact: its manifest and a local folder with its files."""

    def __init__(self, manifest: Manifest, folder: Path, uri: str) -> None:
        self.manifest = manifest
        self.folder = folder
        self.uri = uri


class BuildSlot:
    """The right to build one fingerprint: `output`, empty at first, becomes the artifact; `scratch` stays after one."""

    def __init__(self, root: Path) -> None:
        self.output = root / "output"
        self.scratch = root / "scratch"
        # What a build that was killed left there is no part of this one.
        shutil.rmtree(self.output, ignore_errors=True)
        for folder in (self.output, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)


class ArtifactStore(dg.ConfigurableResource):
    """Artifacts under `<root>/<recipe>/<asset>/<fingerprint>/`, complete when `manifest.json` is there.

    A build works in a local staging folder, is hashed and fsynced, and only then appears under its final name;
    for a remote root the files are uploaded and the manifest is uploaded last.
    """

    root: str = Field(description="fsspec URL or local folder, e.g. s3://bucket/llmops.")
    staging: str = Field(description="Local folder for builds under way and, with a remote root, for copies.")

    def find(self, recipe: str, asset: str, fingerprint: str) -> Artifact | None:
        """Return the verified artifact of this fingerprint, or None if there is no complete one.

        Raises:
            CorruptArtifact: a file is missing or its sha256 differs from the manifest.
        """
        manifest = self.manifest(recipe, asset, fingerprint)
        if manifest is None:
            return None
        uri = self._uri(recipe, asset, fingerprint)
        fs, path = fsspec.core.url_to_fs(uri)
        folder = Path(path) if _is_local(fs) else self._download(fs, path, manifest, recipe, asset)
        for name, entry in manifest.files.items():
            file = folder / name
            if not file.is_file():
                raise CorruptArtifact(_corrupt(uri, name, "is missing"))
            if file_sha256(file) != entry.sha256:
                raise CorruptArtifact(_corrupt(uri, name, "differs from the manifest's sha256"))
        return Artifact(manifest, folder, uri)

    def manifest(self, recipe: str, asset: str, fingerprint: str) -> Manifest | None:
        """Return what the artifact of this fingerprint says about itself, None if there is none; reads no other file.

        Raises:
            CorruptArtifact: it is not a manifest.
        """
        uri = self._uri(recipe, asset, fingerprint)
        fs, path = fsspec.core.url_to_fs(uri)
        if not fs.exists(f"{path}/{MANIFEST}"):
            return None
        try:
            return Manifest.model_validate_json(fs.cat_file(f"{path}/{MANIFEST}"))
        except ValidationError as error:
            raise CorruptArtifact(_corrupt(uri, MANIFEST, "is not a manifest")) from error

    def get(self, recipe: str, asset: str, fingerprint: str) -> Artifact:
        """Return the artifact of this fingerprint.

        Raises:
            ArtifactMissing: there is none; the message says how to make it again.
            CorruptArtifact: as in `find`.
        """
        artifact = self.find(recipe, asset, fingerprint)
        if artifact is None:
            raise ArtifactMissing(
                f"{self._uri(recipe, asset, fingerprint)}: no complete artifact there, although Dagster has a "
                f"materialization of {recipe}/{asset}; materialize {recipe}/{asset} again"
            )
        return artifact

    def find_version(self, recipe: str, asset: str, data_version: str) -> Artifact | None:
        """Return a verified artifact of an asset whose content has this data version, or None if there is none.

        Raises CorruptArtifact as `find` does.
        """
        manifest = self.manifest_of_version(recipe, asset, data_version)
        return None if manifest is None else self.find(recipe, asset, manifest.fingerprint)

    def manifest_of_version(self, recipe: str, asset: str, data_version: str) -> Manifest | None:
        """Return the manifest of an artifact with this data version, None if there is none; reads no other file."""
        fs, path = fsspec.core.url_to_fs(f"{self.root.rstrip('/')}/{recipe}/{asset}")
        fs.invalidate_cache()
        for file in sorted(str(found) for found in fs.glob(f"{path}/*/{MANIFEST}")):
            try:
                manifest = Manifest.model_validate_json(fs.cat_file(file))
            except ValidationError:
                continue  # reported when it is asked for by its fingerprint
            if manifest.data_version == data_version:
                return manifest
        return None

    @contextmanager
    def building(self, recipe: str, asset: str, fingerprint: str) -> Iterator[BuildSlot]:
        """Hold the machine-wide lock of this fingerprint and yield its staging folders.

        Two runs that want the same artifact queue here; the second should call `find` again once inside. The lock
        is the kernel's, so a killed builder releases it, and its scratch folder (checkpoints) is found again.
        """
        slot_root = Path(self.staging) / recipe / asset / fingerprint[:32]
        slot_root.mkdir(parents=True, exist_ok=True)
        with FileLock(slot_root.parent / f"{fingerprint[:32]}.lock"):
            yield BuildSlot(slot_root)

    def publish(
        self,
        slot: BuildSlot,
        *,
        recipe: str,
        asset: str,
        fingerprint: str,
        code_version: str,
        spec: dict[str, Any],
        inputs: dict[str, str],
        summary: dict[str, Any],
        run_card: dict[str, Any] | None = None,
    ) -> Artifact:
        """Turn the slot's output folder into the artifact of `fingerprint` and return it, verified.

        Raises:
            OSError: the disk is full or not writable; nothing appears under the final name.
        """
        files = {}
        manifest_file = slot.output / MANIFEST
        # A builder that was killed right here leaves one, which must not be listed as a file of the next.
        manifest_file.unlink(missing_ok=True)
        for file in sorted(p for p in slot.output.rglob("*") if p.is_file()):
            _fsync(file)
            name = file.relative_to(slot.output).as_posix()
            files[name] = FileEntry(sha256=file_sha256(file), bytes=file.stat().st_size)
        manifest = Manifest(
            recipe=recipe,
            asset=asset,
            fingerprint=fingerprint,
            code_version=code_version,
            spec=spec,
            inputs=inputs,
            files=files,
            data_version=data_version_of(files, VOLATILE_FILES),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            summary=summary,
            run_card=run_card,
        )
        uri = self._uri(recipe, asset, fingerprint)
        fs, path = fsspec.core.url_to_fs(uri)
        manifest_file.write_text(manifest.model_dump_json(indent=2))
        _fsync(manifest_file)
        if _is_local(fs):
            _replace_folder(slot.output, Path(path))
        else:
            for name in [*files, MANIFEST]:
                fs.put_file(str(slot.output / name), f"{path}/{name}")
        shutil.rmtree(slot.output.parent)
        return self.get(recipe, asset, fingerprint)

    def _uri(self, recipe: str, asset: str, fingerprint: str) -> str:
        return f"{self.root.rstrip('/')}/{recipe}/{asset}/{fingerprint[:32]}"

    def _download(self, fs: Any, path: str, manifest: Manifest, recipe: str, asset: str) -> Path:
        folder = Path(self.staging) / "cache" / recipe / asset / manifest.fingerprint[:32]
        for name, entry in manifest.files.items():
            target = folder / name
            if target.is_file() and file_sha256(target) == entry.sha256:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(target.name + ".partial")
            fs.get_file(f"{path}/{name}", str(partial))
            partial.replace(target)
        return folder


def _is_local(fs: Any) -> bool:
    return "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


def _replace_folder(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # a torn upload without manifest: not an artifact
        shutil.rmtree(target)
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_folder(source, target)
    _fsync(target.parent)


def _copy_folder(source: Path, target: Path) -> None:
    """Bring a folder to another file system, where it too appears whole or not at all."""
    arriving = target.with_name(f"{target.name}.arriving")
    shutil.rmtree(arriving, ignore_errors=True)
    shutil.copytree(source, arriving)
    for file in (path for path in arriving.rglob("*") if path.is_file()):
        _fsync(file)
    arriving.replace(target)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _corrupt(uri: str, name: str, problem: str) -> str:
    return (
        f"{uri}/{name}: {problem}; the artifact is corrupted and is not used. Restore the file from a backup, or "
        f"delete the folder {uri} and materialize the asset again"
    )
