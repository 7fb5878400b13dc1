"""A virtual environment per peer under the state folder, made from the pins beside this file."""

import hashlib
import subprocess
import sys
from pathlib import Path

from llmops_assets.errors import LlmopsError
from llmops_assets.settings import state_dir

_HERE = Path(__file__).resolve().parent
_CONSTRAINTS = _HERE.parents[1] / "constraints.txt"
# LLaMA-Factory imports it at start and calls it for audio files alone. The releases for Linux want CUDA's libraries, so
# they do not load beside a torch that was built without.
_OPTIONAL = ("torchvision", "torchaudio")
_IMPORTED_BUT_UNUSED = "torchaudio"


class PeerUnavailable(LlmopsError):
    """The environment of a peer cannot be made."""


def peer_environment(name: str) -> Path:
    """Return the folder of the environment `name` (a .txt file beside this module), made on first use.

    Raises PeerUnavailable.
    """
    pins = _HERE / f"{name}.txt"
    folder = state_dir() / "benchmarks" / "envs" / name
    ready = folder / ".ready"
    wanted = hashlib.sha256(pins.read_bytes() + _CONSTRAINTS.read_bytes()).hexdigest()
    if ready.is_file() and ready.read_text(encoding="utf-8") == wanted:
        return folder
    print(f"making the environment of {name} in {folder}: some minutes, once", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run(name, sys.executable, "-m", "venv", "--clear", str(folder))
    # torch comes first and alone: resolved together with the rest, pip may pick another build of it.
    requirements = [line for line in pins.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    constraints = ["-c", str(_CONSTRAINTS)] if "torch" in requirements else []
    for packages in (requirements[:1], requirements):
        _run(name, str(folder / "bin" / "pip"), "install", "--quiet", *packages, *constraints)
    _drop_what_does_not_load(name, folder)
    ready.write_text(wanted, encoding="utf-8")
    return folder


def _drop_what_does_not_load(name: str, folder: Path) -> None:
    python = str(folder / "bin" / "python")
    for package in _OPTIONAL:
        probe = f"import importlib.util as u, sys; sys.exit(u.find_spec({package!r}) is None)"
        if subprocess.run([python, "-c", probe], check=False).returncode:
            continue
        if not subprocess.run([python, "-c", f"import {package}"], check=False, capture_output=True).returncode:
            continue
        _run(name, str(folder / "bin" / "pip"), "uninstall", "--quiet", "--yes", package)
        if package == _IMPORTED_BUT_UNUSED:
            site = next((folder / "lib").glob("python*/site-packages"))
            empty = site / package / "__init__.py"
            empty.parent.mkdir(exist_ok=True)
            empty.write_text('"""Empty: the release does not load beside a torch without CUDA."""\n', encoding="utf-8")


def _run(name: str, *command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise PeerUnavailable(
            f"the environment of {name} cannot be made: `{' '.join(command)}` ended with {done.returncode}: "
            f"{lines[-1] if lines else 'no output'}; check the package index that pip uses, or leave the peer out "
            "with --subjects"
        )
