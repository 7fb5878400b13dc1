"""A recipe in the making: values with where they come from, what is to be reported, and what is wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from llmops_assets.config_import.data_files import as_jsonl
from llmops_assets.config_import.rules import Goes, Joint, KeyTable, Only, Refused, Unneeded, accepted
from llmops_assets.config_import.settings import Setting
from llmops_assets.config_import.values import Unusable

Outcome = Literal["translated", "same", "unneeded", "unread", "look"]


@dataclass(frozen=True)
class Line:
    """One line of the report: a key, what became of it, and the sentence about it."""

    key: str
    outcome: Outcome
    text: str


@dataclass(frozen=True)
class Entry:
    """One value of the recipe; `origin` is the setting that it comes from, None for a default of the source system."""

    value: Any
    comment: str = ""
    origin: Setting | None = None


@dataclass
class Draft:
    """What has been understood so far.

    Keys of `entries` are dotted: `sft.max_length`, `base_model.name`. `files` are JSONL files, with their rows, that go
    with the recipe because the lane cannot read the source's own.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    report: list[Line] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    files: dict[Path, list[dict[str, Any]]] = field(default_factory=dict)

    def put(self, key: str, value: Any, comment: str = "", origin: Setting | None = None) -> None:
        self.entries[key] = Entry(value, comment, origin)

    def keep(self, file: Path, rows: list[dict[str, Any]]) -> None:
        """Add a data file. Raises Unusable if its place is taken by other rows, in this import or on disk."""
        if self.files.get(file, rows) != rows:
            raise Unusable(f"its rows would take the place of other ones in {file}; give one of the two another name")
        if file.exists() and (not file.is_file() or file.read_bytes() != as_jsonl(rows)):
            raise Unusable(
                f"{file} is there already and holds something else; move it away, or give the recipe another --name"
            )
        self.files[file] = rows

    def tell(self, key: str, outcome: Outcome, text: str) -> None:
        self.report.append(Line(key, outcome, text))

    def refuse(self, setting: Setting, reason: str) -> None:
        self.problems.append(f"{setting.where}: {reason}")

    def miss(self, file: Path, key: str, reason: str) -> None:
        self.problems.append(f"{file}:1: {key}: {reason}")

    def as_recipe(self) -> dict[str, Any]:
        """Return the entries as the nested mapping that a recipe file holds."""
        recipe: dict[str, Any] = {}
        for key, entry in self.entries.items():
            section, _, leaf = key.partition(".")
            if leaf:
                recipe.setdefault(section, {})[leaf] = entry.value
            else:
                recipe[section] = entry.value
        return recipe


def apply_table(table: KeyTable, settings: Sequence[Setting], stage: str, draft: Draft) -> dict[str, Setting]:
    """Apply the rule of every setting to `draft`, write the source's defaults, and return the joint settings by key.

    Keys that the source system reads in other stages only are left out, as it leaves them out, and reported.
    """
    joint: dict[str, Setting] = {}
    for setting in settings:
        rule = table.rule(setting.key)
        if rule is None:
            draft.refuse(setting, f"{table.title} has no such key; correct its spelling or remove it")
        elif setting.value is None:
            draft.tell(setting.key, "unread", "is null: not set")
        elif not isinstance(rule, Unneeded) and stage not in rule.read_by:
            draft.tell(setting.key, "unread", f"is not read by stage {stage} in {table.title} either")
        elif isinstance(rule, Joint):
            joint[setting.key] = setting
        else:
            _apply(rule, setting, stage, draft)
    given = {setting.key for setting in settings if setting.value is not None}
    for key, rule in table.keys.items():
        if isinstance(rule, Goes) and rule.default is not None and key not in given and stage in rule.read_by:
            target = _target(rule, stage)
            if target not in draft.entries:
                draft.put(target, rule.default, f"default of {table.title}'s {key}")
    return joint


class Joined:
    """The settings that the code of a source format reads together; writes into one stage of the draft."""

    def __init__(self, settings: dict[str, Setting], stage: str, draft: Draft) -> None:
        self.settings, self.stage, self.draft = settings, stage, draft
        self.read: set[str] = set()

    def get(self, key: str, convert: Callable[[Any], Any], default: Any = None) -> Any:
        """Return the converted value of `key`; `default` if it is not set or, once reported, cannot be used."""
        setting = self.settings.get(key)
        self.read.add(key)
        if setting is None:
            return default
        try:
            return convert(setting.value)
        except Unusable as error:
            self.draft.refuse(setting, str(error))
            return default

    def put(self, leaf: str, value: Any, key: str, note: str = "") -> None:
        """Write `leaf` of the stage; `key` is the setting or default that it comes from."""
        setting = self.settings.get(key)
        renamed = key if key != leaf else ""
        self.draft.put(f"{self.stage}.{leaf}", value, renamed if setting else f"default of {key}", setting)
        if setting is not None:
            outcome: Outcome = "same" if key == leaf and not note else "translated"
            shown = "the same key, the same meaning" if outcome == "same" else f"-> {self.stage}.{leaf}: {value}"
            self.draft.tell(key, outcome, f"{shown}; {note}" if note else shown)

    def refuse(self, key: str, reason: str) -> None:
        """Refuse the setting `key`, which must be set."""
        self.draft.refuse(self.settings[key], reason)

    def tell(self, key: str, outcome: Outcome, text: str) -> None:
        """Report on `key` if it is set."""
        if key in self.settings:
            self.draft.tell(key, outcome, text)


def _apply(rule: Goes | Only | Unneeded | Refused, setting: Setting, stage: str, draft: Draft) -> None:
    try:
        match rule:
            case Goes():
                value, target = rule.convert(setting.value), _target(rule, stage)
                renamed = target.rpartition(".")[2] != setting.key
                changed = renamed or value != setting.value
                shown = f"-> {target}: {value}" if changed else "the same key, the same meaning"
                draft.tell(
                    setting.key, "translated" if changed else "same", f"{shown}; {rule.note}" if rule.note else shown
                )
                draft.put(target, value, setting.key if renamed else "", setting)
            case Only():
                accepted(rule, setting.value)
                draft.tell(setting.key, "same", f"{setting.value}: what a lane does anyway")
            case Unneeded():
                draft.tell(setting.key, "unneeded", rule.why)
            case Refused():
                draft.refuse(setting, rule.advice)
    except Unusable as error:
        draft.refuse(setting, str(error))


def _target(rule: Goes, stage: str) -> str:
    return rule.to.replace("stage.", f"{stage}.", 1) if rule.to.startswith("stage.") else rule.to
