"""The images, as far as that goes without building them: the light one's imports, and what the Dockerfile promises."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from llmops_assets_tests.deploy.homes import REPOSITORY

DOCKERFILE = REPOSITORY / "deploy" / "Dockerfile"
PROJECT = "llmops-assets"
HEAVY = {"torch", "transformers", "trl", "peft", "deepspeed", "datasets", "accelerate", "mlflow", "ray", "numpy"}
CONTROL_PLANE_MODULES = [
    "llmops_assets.definitions",
    "llmops_assets.cli",
    "llmops_assets.instances",
    "llmops_assets.feedback.migrate",
    "llmops_assets.launchers.docker",
    "llmops_assets.launchers.kubernetes",
    "llmops_assets.launchers.process",
    "llmops_assets.launchers.routing",
    "dagster_postgres",
    "dagster_webserver.cli",
    "dagster._daemon.cli",
]
# Refuses, as if they were not installed, the modules that only distributions outside the list provide.
IMPORT_WITHOUT = """
import importlib, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

blocked, modules = set(sys.argv[1].split(",")), sys.argv[2].split(",")
sys.meta_path.insert(0, Missing())
for module in modules:
    importlib.import_module(module)
"""


def control_plane_requirements() -> list[Requirement]:
    lines = (REPOSITORY / "deploy" / "control-plane.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def installed_with(requirements: list[Requirement]) -> set[str]:
    """The distributions that pip would install for these requirements, taken from the metadata of those here."""
    found: set[str] = set()
    waiting = [(requirement, extra) for requirement in requirements for extra in ("", *requirement.extras)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            needed = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        for line in needed:
            child = Requirement(line)
            if child.marker is None or child.marker.evaluate({"extra": extra}):
                waiting += [(child, child_extra) for child_extra in ("", *child.extras)]
    return found


def test_control_plane_imports_nothing_that_its_list_does_not_install() -> None:
    available = installed_with(control_plane_requirements()) | {PROJECT}
    blocked = {
        module
        for module, names in packages_distributions().items()
        if not {canonicalize_name(name) for name in names} & available
    }
    assert blocked >= HEAVY - {"ray"}

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_WITHOUT, ",".join(blocked), ",".join(CONTROL_PLANE_MODULES)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr


def test_a_missing_distribution_would_be_noticed() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_WITHOUT, "sqlalchemy", "llmops_assets.definitions"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=120,
    )

    assert "No module named 'sqlalchemy'" in done.stderr


def test_list_of_the_control_plane_names_only_what_the_project_requires() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    required = {canonicalize_name(Requirement(line).name) for line in lines}

    assert {canonicalize_name(requirement.name) for requirement in control_plane_requirements()} <= required


def test_dockerfile_copies_what_exists_and_what_the_context_lets_through() -> None:
    ignore = (REPOSITORY / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    sources = {source for line in _instructions("COPY") for source in line.split()[:-1]}
    assert sources
    for source in sources:
        assert (REPOSITORY / source).exists(), source
        assert source in let_through, source


def test_images_have_a_fixed_base_and_no_root() -> None:
    images = {line.split()[0] for line in _instructions("FROM")}
    stages = {line.split(" AS ")[1] for line in _instructions("FROM")}
    assert {"control-plane", "training", "tracking"} <= stages
    for image in images - stages:
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+-.+", image), f"{image} is not pinned"
    # One USER at the end of each target that is run.
    assert _instructions("USER") == ["10001:10001"] * (len(stages) - len(stages & images))


def test_training_image_installs_extras_that_the_project_has() -> None:
    extras = re.search(r'--editable "\.\[(.*)\]"', DOCKERFILE.read_text())
    assert extras is not None
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])


def _instructions(name: str) -> list[str]:
    """The arguments of every instruction of this name, continuation lines joined."""
    return list(_matching(name, DOCKERFILE.read_text().replace("\\\n", " ")))


def _matching(name: str, text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.startswith(f"{name} "):
            yield line.removeprefix(f"{name} ").strip()
