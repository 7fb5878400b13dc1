"""The pinned packages whose documentation the embedded base model is trained on, and how their files are found."""

import importlib.metadata
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from llmops_assets.errors import LlmopsError

_TEXT_SUFFIXES = (".py", ".rst", ".md", ".txt", "/METADATA")


class PretrainingSourceError(LlmopsError):
    """A pinned package could not be downloaded or lacks a module that the list names."""


@dataclass(frozen=True)
class SourcePackage:
    """One distribution: name and version as the package index knows them, licence, top-level import packages."""

    name: str
    version: str
    licence: str
    modules: tuple[str, ...]


@dataclass(frozen=True)
class PackageFiles:
    """The files of one source package: the directory of each import package, and the long description (a README)."""

    source: SourcePackage
    directories: tuple[Path, ...]
    description: str


# The standard library is left out on purpose, with everything that bundles or backports it (pip, setuptools, dill,
# multiprocess, six, typing-extensions): continued pretraining on it must have something left to teach.
SOURCE_PACKAGES: tuple[SourcePackage, ...] = (
    SourcePackage("accelerate", "1.15.0", "Apache-2.0", ("accelerate",)),
    SourcePackage("aiohttp", "3.14.5", "Apache-2.0 AND MIT", ("aiohttp",)),
    SourcePackage("astropy", "8.0.2", "BSD-3-Clause", ("astropy",)),
    SourcePackage("attrs", "26.1.0", "MIT", ("attr", "attrs")),
    SourcePackage("bokeh", "3.9.2", "BSD-3-Clause", ("bokeh",)),
    SourcePackage("boltons", "26.2.0", "BSD-3-Clause", ("boltons",)),
    SourcePackage("boto3", "1.44.5", "Apache-2.0", ("boto3",)),
    SourcePackage("celery", "5.7.0", "BSD-3-Clause", ("celery",)),
    SourcePackage("click", "8.5.1", "BSD-3-Clause", ("click",)),
    SourcePackage("cryptography", "50.0.2", "Apache-2.0 OR BSD-3-Clause", ("cryptography",)),
    SourcePackage("dagster", "1.13.28", "Apache-2.0", ("dagster",)),
    SourcePackage("dask", "2026.8.0", "BSD-3-Clause", ("dask",)),
    SourcePackage("datasets", "5.2.0", "Apache-2.0", ("datasets",)),
    SourcePackage("deepspeed", "0.19.8", "Apache-2.0", ("deepspeed",)),
    SourcePackage("distributed", "2026.8.0", "BSD-3-Clause", ("distributed",)),
    SourcePackage("django", "5.2.19", "BSD-3-Clause", ("django",)),
    SourcePackage("fastapi", "0.165.0", "MIT", ("fastapi",)),
    SourcePackage("flask", "3.1.3", "BSD-3-Clause", ("flask",)),
    SourcePackage("huggingface_hub", "2.4.0", "Apache-2.0", ("huggingface_hub",)),
    SourcePackage("ipython", "9.18.1", "BSD-3-Clause", ("IPython",)),
    SourcePackage("jax", "0.10.2", "Apache-2.0", ("jax",)),
    SourcePackage("jinja2", "3.1.6", "BSD-3-Clause", ("jinja2",)),
    SourcePackage("matplotlib", "3.11.2", "Matplotlib licence (PSF-based)", ("matplotlib", "mpl_toolkits")),
    SourcePackage("mlflow-skinny", "3.17.2", "Apache-2.0", ("mlflow",)),
    SourcePackage("more-itertools", "11.2.1", "MIT", ("more_itertools",)),
    SourcePackage("networkx", "3.6.1", "BSD-3-Clause", ("networkx",)),
    SourcePackage("nltk", "3.10.4", "Apache-2.0", ("nltk",)),
    SourcePackage("numpy", "2.4.6", "BSD-3-Clause", ("numpy",)),
    SourcePackage("pandas", "3.1.1", "BSD-3-Clause", ("pandas",)),
    SourcePackage("peft", "0.21.2", "Apache-2.0", ("peft",)),
    SourcePackage("pydantic", "2.14.3", "MIT", ("pydantic",)),
    SourcePackage("pymongo", "4.20.0", "Apache-2.0", ("pymongo", "bson", "gridfs")),
    SourcePackage("pyparsing", "3.3.3", "MIT", ("pyparsing",)),
    SourcePackage("pytest", "9.2.0", "MIT", ("_pytest", "pytest")),
    SourcePackage("ray", "2.60.0", "Apache-2.0", ("ray",)),
    SourcePackage("redis", "8.1.0", "MIT", ("redis",)),
    SourcePackage("requests", "2.34.2", "Apache-2.0", ("requests",)),
    SourcePackage("rich", "15.0.0", "MIT", ("rich",)),
    SourcePackage("scikit-image", "0.26.0", "BSD-3-Clause", ("skimage",)),
    SourcePackage("scikit-learn", "1.9.1", "BSD-3-Clause", ("sklearn",)),
    SourcePackage("scipy", "1.17.1", "BSD-3-Clause", ("scipy",)),
    SourcePackage("seaborn", "0.13.2", "BSD-3-Clause", ("seaborn",)),
    SourcePackage("sortedcontainers", "2.4.0", "Apache-2.0", ("sortedcontainers",)),
    SourcePackage("sphinx", "9.0.4", "BSD-2-Clause", ("sphinx",)),
    SourcePackage("sqlalchemy", "2.1.9", "MIT", ("sqlalchemy",)),
    SourcePackage("starlette", "1.10.0", "BSD-3-Clause", ("starlette",)),
    SourcePackage("statsmodels", "0.15.0", "BSD-3-Clause", ("statsmodels",)),
    SourcePackage("sympy", "1.14.0", "BSD-3-Clause", ("sympy",)),
    SourcePackage("toolz", "1.2.0", "BSD-3-Clause", ("toolz", "tlz")),
    SourcePackage("torch", "2.13.0", "BSD-3-Clause", ("torch",)),
    SourcePackage("tornado", "6.6.1", "Apache-2.0", ("tornado",)),
    SourcePackage("transformers", "5.23.0", "Apache-2.0", ("transformers",)),
    SourcePackage("trio", "0.35.0", "MIT OR Apache-2.0", ("trio",)),
    SourcePackage("trl", "1.16.0", "Apache-2.0", ("trl",)),
    SourcePackage("twisted", "26.10.0", "MIT", ("twisted",)),
    SourcePackage("werkzeug", "3.1.9", "BSD-3-Clause", ("werkzeug",)),
    SourcePackage("xarray", "2026.9.0", "Apache-2.0", ("xarray",)),
)


def locate_package(source: SourcePackage, download_dir: Path) -> PackageFiles:
    """Return the files of `source`: of the installed distribution if its version is the pinned one, else of its wheel.

    A wheel is fetched with `pip download --no-deps` into `download_dir` once and only its text files are unpacked.

    Raises PretrainingSourceError if the download fails or a module of the list is not in the distribution.
    """
    root, description = _installed(source) or _unpacked(source, download_dir)
    directories = tuple(root / module for module in source.modules)
    for directory in directories:
        if not directory.is_dir():
            raise PretrainingSourceError(
                f"{source.name} {source.version}: no package {directory.name!r} in {root}; correct SOURCE_PACKAGES"
            )
    return PackageFiles(source, directories, description)


def _installed(source: SourcePackage) -> tuple[Path, str] | None:
    try:
        distribution = importlib.metadata.distribution(source.name)
    except importlib.metadata.PackageNotFoundError:
        return None
    # A local version label ("2.13.0+cpu") names another build of the same source.
    if distribution.version.partition("+")[0] != source.version:
        return None
    return Path(str(distribution.locate_file(""))), _description(distribution.read_text("METADATA") or "")


def _unpacked(source: SourcePackage, download_dir: Path) -> tuple[Path, str]:
    root = download_dir / "unpacked" / f"{source.name}-{source.version}"
    if not (root / ".complete").is_file():
        with zipfile.ZipFile(_wheel(source, download_dir)) as archive:
            members = [name for name in archive.namelist() if name.endswith(_TEXT_SUFFIXES)]
            archive.extractall(root, members)
        (root / ".complete").touch()
    metadata = sorted(root.glob("*.dist-info/METADATA"))
    return root, _description(metadata[0].read_text(encoding="utf-8") if metadata else "")


def _wheel(source: SourcePackage, download_dir: Path) -> Path:
    pattern = f"{source.name.replace('-', '_')}-{source.version}-*.whl"
    if not (found := sorted(download_dir.glob(pattern))):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--dest", str(download_dir), f"{source.name}=={source.version}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        found = sorted(download_dir.glob(pattern))
        if result.returncode or not found:
            detail = result.stderr.strip().splitlines()[-1:] or ["no wheel of that name arrived"]
            raise PretrainingSourceError(
                f"{source.name}=={source.version} cannot be downloaded into {download_dir}: {detail[0]}"
            )
    return found[0]


def _description(metadata: str) -> str:
    """Return the body of a METADATA file, which by the core metadata specification is the long description."""
    return metadata.partition("\n\n")[2].strip()
