"""Settings that all formats combine in the same way: base model, duration, schedule with warm-up."""

import math
import re
from pathlib import Path
from typing import Any

from llmops_assets.config_import.draft import Draft, Joined
from llmops_assets.config_import.places import Place
from llmops_assets.config_import.values import integer, number, one_of, text
from llmops_assets.recipe import Recipe

_NO_CHAT_TEMPLATE = r"(meta-)?llama-3(\.[12])?-\d+b$"


def require_section(stage: str, file: Path, draft: Draft) -> None:
    """Report a stage that this version's recipes do not have."""
    if stage not in Recipe.model_fields:
        draft.miss(file, "stage", f"recipes have no section {stage} yet; import the other stages without this file")


def put_base_model(joined: Joined, key: str, revision_key: str, file: Path, place: Place) -> str:
    """Write `base_model` and return its name; the stages of one lane must agree on it."""
    draft = joined.draft
    name = joined.get(key, text, "")
    revision = joined.get(revision_key, text)
    if not name:
        if key not in joined.settings:
            draft.miss(file, key, "is missing; name the base model")
        return ""
    folder = model_folder(name, file)
    shown = str(folder) if folder else name
    known = draft.entries.get("base_model.name")
    if known is not None and known.value != shown:
        joined.refuse(key, f"is {name}, and the config before it has {known.value}; a lane has one base model")
        return name
    draft.put("base_model.name", shown, key, joined.settings[key])
    draft.tell(key, "translated", f"-> base_model.name: {shown}")
    pinned = revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision) is not None
    pin = draft.entries.get("base_model.revision")
    if pinned and pin is not None and pin.value != revision:
        joined.refuse(revision_key, f"is {revision}, and the config before it has {pin.value}; a lane has one base")
    elif pinned:
        draft.put("base_model.revision", revision, revision_key, joined.settings[revision_key])
        joined.tell(revision_key, "translated", f"-> base_model.revision: {revision}")
    elif folder is None and pin is None:
        draft.tell(key, "look", f"{name} is not pinned: set base_model.revision to a commit of the hub")
    if joined.stage != "cpt" and re.search(_NO_CHAT_TEMPLATE, name.lower()):
        draft.tell(
            key, "look", f"{name} has no chat template, which a lane needs for chats; its -Instruct model has one"
        )
    return name


def model_folder(name: str, file: Path) -> Path | None:
    """Return the folder of a model that the config `file` names; None for a hub id."""
    found = next((path for path in (Path(name), file.parent / name) if path.is_dir()), None)
    return found.resolve() if found else None


def put_default_base_model(joined: Joined, key: str, name: str, revision: str) -> None:
    """Write the `base_model` that the value of `key` stands for, unless a config before has the same one."""
    known = joined.draft.entries.get("base_model.name")
    if known is None:
        comment = f"default of {key}: {joined.settings[key].value}"
        joined.draft.put("base_model.name", name, comment, joined.settings[key])
        joined.draft.put("base_model.revision", revision)
    elif known.value != name:
        joined.refuse(
            key,
            f"stands for {name}, and the config before it has {known.value}; a lane has one base model, so name the "
            "same one in both",
        )


def put_duration(joined: Joined, epochs_key: str, default_epochs: float) -> None:
    """Write `epochs`, or `max_steps` alone where it is set: it takes the place of epochs in transformers."""
    epochs = joined.get(epochs_key, number, default_epochs)
    steps = joined.get("max_steps", integer, -1)
    if steps > 0:
        joined.put("max_steps", steps, "max_steps")
        joined.tell(epochs_key, "unread", "max_steps is set, which takes its place in transformers too")
        return
    joined.put("epochs", epochs, epochs_key)
    joined.tell("max_steps", "unread", "is not above 0: not set")


def put_schedule(joined: Joined, default: str) -> None:
    """Write schedule and warm-up: `warmup_steps` wins over `warmup_ratio`, and `constant` knows no warm-up."""
    kinds = {name: name for name in ("cosine", "linear", "constant", "constant_with_warmup")}
    kind = joined.get("lr_scheduler_type", one_of(kinds, f"schedules are {', '.join(kinds)}"), default)
    joined.put("lr_scheduler", "constant" if kind == "constant_with_warmup" else kind, "lr_scheduler_type")
    ratio, steps = joined.get("warmup_ratio", number, 0.0), joined.get("warmup_steps", number, 0.0)
    if kind == "constant":
        for key in ("warmup_ratio", "warmup_steps"):
            joined.tell(
                key, "unread", "the schedule `constant` has no warm-up in transformers; constant_with_warmup has"
            )
        return
    if 0 < steps < 1:
        joined.put("warmup_ratio", steps, "warmup_steps", "below 1 it is a share of all steps, as in transformers 5")
    elif steps:
        joined.put("warmup_steps", math.ceil(steps), "warmup_steps")
    else:
        joined.tell("warmup_steps", "same", "0: none")
    if steps:
        joined.tell("warmup_ratio", "unread", "warmup_steps is set, which wins in transformers too")
    elif ratio:
        joined.put("warmup_ratio", ratio, "warmup_ratio")
    else:
        joined.tell("warmup_ratio", "same", "0: none")


def put_pairs(joined: Joined, key: str, sources: list[dict[str, Any]], place: Place) -> None:
    """Write `preferences`: pairs of the data sets that `key` names. Bad rows are quarantined, however many."""
    data_sets = {"sources": sources, "max_quarantined_share": 1.0}
    joined.draft.put("preferences.data_sets", data_sets, key, joined.settings[key])
    joined.draft.put("preferences.minimum", 100, "new usable votes that start another run")
    joined.tell(
        key,
        "look",
        "the pairs are in preferences.data_sets, and votes alone start a run by themselves: start the first one with "
        f"`dagster job launch -w workspace.yaml -j {place.name}_dpo`",
    )
