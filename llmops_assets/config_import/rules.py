"""The four things that can become of a key. A source format is a table from key to one of these."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmops_assets.config_import.values import Unusable

STAGES = frozenset({"cpt", "sft", "kd", "dpo", "kto"})
CHAT = frozenset({"sft", "kd"})
PREFERENCES = frozenset({"dpo", "kto"})


@dataclass(frozen=True)
class Goes:
    """The value is kept, under the recipe's key `to`.

    `stage.x` is the key x of the stage that the file describes. Where the file is silent, `default` (the source
    system's own, not the recipe's) is written, so that the numbers stay those of the source.
    """

    to: str
    convert: Callable[[Any], Any]
    default: Any = None
    note: str = ""
    read_by: frozenset[str] = STAGES


@dataclass(frozen=True)
class Only:
    """Fine with one of `values`, which say what a lane does anyway; refused with any other."""

    values: tuple[Any, ...]
    advice: str
    read_by: frozenset[str] = STAGES


@dataclass(frozen=True)
class Unneeded:
    """Has no counterpart and changes nothing in the result; `why` says so to the reader."""

    why: str


@dataclass(frozen=True)
class Refused:
    """Changes the result and cannot be honoured, whatever its value; `advice` says what to do instead."""

    advice: str
    read_by: frozenset[str] = STAGES


@dataclass(frozen=True)
class Joint:
    """Only makes sense together with other keys; the code of the source format reads it. `note` is for the docs."""

    note: str
    read_by: frozenset[str] = STAGES


Rule = Goes | Only | Unneeded | Refused | Joint


@dataclass(frozen=True)
class KeyTable:
    """A source format as data.

    `families` serve keys by prefix that matter only beside one key that is refused; `aliases` are the short names that
    overrides on the command line may use.
    """

    title: str
    keys: Mapping[str, Rule]
    families: Mapping[str, Rule]
    aliases: Mapping[str, str]

    def rule(self, key: str) -> Rule | None:
        """Return the rule of `key`, or None for a key that the source system does not have either."""
        if key in self.keys:
            return self.keys[key]
        return next((rule for prefix, rule in self.families.items() if key.startswith(prefix)), None)

    def knows(self, keys: set[str]) -> int:
        """Return how many of `keys` have a rule; tells formats apart."""
        return sum(self.rule(key) is not None for key in keys)


def accepted(rule: Only, value: Any) -> None:
    """Raise `Unusable` with the rule's advice unless `value` is one of those that say what happens anyway."""
    key = value.lower() if isinstance(value, str) else value
    # 0 == False in Python, and a switch is no number.
    if not any(key == known and isinstance(key, bool) == isinstance(known, bool) for known in rule.values):
        raise Unusable(f"{value!r} cannot be honoured: {rule.advice}")
