"""From config files of another system to a recipe file: the one function behind `llmops import-config`."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmops_assets.config_import.data_files import as_jsonl, write_new
from llmops_assets.config_import.draft import Draft, Line, Outcome
from llmops_assets.config_import.hydra import compose, read_hydra
from llmops_assets.config_import.hydra_keys import GROUPS as HYDRA_GROUPS
from llmops_assets.config_import.hydra_keys import HYDRA
from llmops_assets.config_import.kubeflow import read_kubeflow, read_parameters
from llmops_assets.config_import.kubeflow_keys import KUBEFLOW
from llmops_assets.config_import.llama_factory import read_llama_factory
from llmops_assets.config_import.llama_factory_keys import LLAMA_FACTORY
from llmops_assets.config_import.places import Place, lane_name
from llmops_assets.config_import.recipe_text import recipe_text
from llmops_assets.config_import.rules import KeyTable
from llmops_assets.config_import.settings import ConfigImportError, Setting, override, read_overrides, read_settings
from llmops_assets.recipe import Recipe, load_recipe


@dataclass(frozen=True)
class _Format:
    table: KeyTable
    read: Callable[[Path], list[Setting]]
    draft: Callable[[dict[Path, list[Setting]], Place], Draft]


FORMATS: dict[str, _Format] = {
    "llama-factory": _Format(LLAMA_FACTORY, read_settings, read_llama_factory),
    "hydra": _Format(HYDRA, compose, read_hydra),
    "kubeflow": _Format(KUBEFLOW, read_parameters, read_kubeflow),
}

_HEADINGS: dict[Outcome, str] = {
    "translated": "Translated",
    "same": "Same meaning",
    "unneeded": "No counterpart, and none is needed",
    "unread": "Not set, or not read by the source system either",
    "look": "Look at these",
}


@dataclass(frozen=True)
class Imported:
    """What an import wrote: the recipe, the data files that go with it, and the report by key."""

    recipe: Path
    data_files: tuple[Path, ...]
    report: tuple[Line, ...]

    def report_text(self) -> str:
        """Return the report as lines under a heading for each outcome."""
        lines: list[str] = []
        for outcome, heading in _HEADINGS.items():
            told = list(dict.fromkeys(line for line in self.report if line.outcome == outcome))
            lines += [f"{heading}:", *(f"  {line.key}: {line.text}" for line in told)] if told else []
        return "\n".join(lines)


def import_config(files: Sequence[Path], overrides: Sequence[str], out: Path, kind: str | None = None) -> Imported:
    """Write the recipe that `files` describe to `out`, and the data that had to be converted beside it.

    Several files are the stages of one chain. `overrides` are `--key=value` and go with one file. Without `kind`, the
    format is the one that has most of the files' keys.

    Raises:
        ConfigImportError: something cannot be honoured or is unknown; nothing is written, and every problem is named
            with file, line and key.
    """
    place = Place(out)
    if out.exists():
        raise ConfigImportError(f"{out}: exists already; give another --name or --out, or remove it first")
    source = FORMATS[kind or _kind_of(files)]
    given = [
        Setting(source.table.aliases.get(s.key, s.key), s.value, s.file, s.line) for s in read_overrides(overrides)
    ]
    if len(files) > 1 and any(setting.key != "num_processes" for setting in given):
        raise ConfigImportError("an override names no stage, so it goes with one file; put it into the files instead")
    draft = source.draft({file: override(source.read(file), given) for file in files}, place)
    names = ", ".join(file.name for file in files)
    draft.put("name", place.name)
    draft.put("description", f"Imported from {names} of {source.table.title}.")
    _validate(draft, files[0])
    if draft.problems:
        raise ConfigImportError("\n".join(dict.fromkeys(draft.problems)))
    if draft.files:
        folder = next(iter(draft.files)).parent
        draft.tell(
            "(data)",
            "look",
            f"rows of your data sets are copied into {folder}, which git tracks and which may be private: before you "
            "commit, see that they may go where the repository goes",
        )
    text = recipe_text(
        draft, f"What {names} of {source.table.title} trains, as a lane.", f"llmops import-config {names}"
    )
    _write(draft, text, out)
    return Imported(out, tuple(draft.files), tuple(draft.report))


def import_files(arguments: Sequence[str], name: str | None, out: Path | None, kind: str, recipes: Path) -> Imported:
    """Import from the arguments of the command line: files, and overrides that begin with `--`.

    Without `out` the recipe goes under `recipes`, called `name` or after the first file. Raises ConfigImportError.
    """
    files = [Path(argument) for argument in arguments if not argument.startswith("--")]
    overrides = [argument for argument in arguments if argument.startswith("--")]
    if not files:
        raise ConfigImportError("name a config file: llmops import-config FILE [--key=value]...")
    if name and out and out.stem != name:
        raise ConfigImportError(f"--name {name} and --out {out} differ; a recipe is called as its file, so give one")
    target = out or recipes / f"{name or lane_name(files[0])}.yaml"
    return import_config(files, overrides, target, None if kind == "auto" else kind)


def _kind_of(files: Sequence[Path]) -> str:
    keys = {s.key for file in files for s in read_settings(file, HYDRA_GROUPS)}
    unreadable: ConfigImportError | None = None
    for file in files:
        try:
            keys |= {setting.key for setting in read_parameters(file)}
        except ConfigImportError as error:  # no parameter list of the pipeline's, or a broken one
            unreadable = error
    known = {kind: source.table.knows(keys) for kind, source in FORMATS.items()}
    best = max(known, key=lambda kind: known[kind])
    if not known[best] or list(known.values()).count(known[best]) > 1:
        if unreadable is not None:
            raise unreadable
        raise ConfigImportError(
            f"{files[0]}: its keys do not tell which system it is for ({', '.join(sorted(keys)) or 'it has none'}); "
            f"give --kind {', --kind '.join(FORMATS)}"
        )
    return best


def _validate(draft: Draft, file: Path) -> None:
    """Add what the recipe's own schema says against the draft, at the setting that the value comes from."""
    try:
        Recipe.model_validate(draft.as_recipe())
    except ValidationError as error:
        for problem in error.errors():
            entry = draft.entries.get(".".join(map(str, problem["loc"])))
            # With other problems, what is missing or does not fit together may only follow from them.
            if not draft.problems or (entry is not None and entry.origin is not None):
                draft.problems.append(_place_of(draft, problem["loc"], file) + _message(problem))


def _message(problem: Any) -> str:
    found = problem.get("input")
    return problem["msg"] if isinstance(found, dict) else f"{problem['msg']} (found {found!r})"


def _place_of(draft: Draft, location: tuple[Any, ...], file: Path) -> str:
    parts = [str(part) for part in location]
    for length in range(len(parts), 0, -1):
        entry = draft.entries.get(".".join(parts[:length]))
        if entry is not None and entry.origin is not None:
            return f"{entry.origin.where}: "
    stage_files = [
        e.origin.file for key, e in draft.entries.items() if e.origin and parts and key.startswith(f"{parts[0]}.")
    ]
    return f"{stage_files[0] if stage_files else file}:1: {'.'.join(parts) or '(recipe)'}: "


def _write(draft: Draft, text: str, out: Path) -> None:
    """Prove that the text is a recipe, then write the data files and, last, the recipe."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / out.name
        trial.write_text(text, encoding="utf-8")
        load_recipe(trial)
    data = {file: as_jsonl(rows) for file, rows in draft.files.items()}
    try:
        write_new({**data, out: text.encode()})
    except FileExistsError as error:
        raise ConfigImportError(f"{error.filename}: has appeared during the import; nothing was written") from error
    except OSError as error:
        raise ConfigImportError(f"{error.filename}: cannot be written ({error.strerror}); mend that first") from error
