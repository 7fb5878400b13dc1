"""Training configs of the Hydra workshop: `defaults` are composed, the keys become one SFT lane."""

from pathlib import Path
from typing import Any

from llmops_assets.config_import.draft import Draft, Joined, apply_table
from llmops_assets.config_import.hydra_keys import GROUPS, HYDRA
from llmops_assets.config_import.places import Place
from llmops_assets.config_import.row_files import read_pairs
from llmops_assets.config_import.settings import ConfigImportError, Setting, override, read_settings
from llmops_assets.config_import.shared_keys import put_base_model, put_duration, put_schedule, require_section
from llmops_assets.config_import.values import Unusable, flag, integer, names, one_of, text


def compose(file: Path) -> list[Setting]:
    """Return the settings of `file` over those that its `defaults` list names, in Hydra's order.

    Raises:
        ConfigImportError: a config of the list is not there, or a value is an interpolation.
    """
    own = read_settings(file, GROUPS)
    listed = next((setting for setting in own if setting.key == "defaults"), None)
    own = [setting for setting in own if setting.key != "defaults"]
    for setting in own:
        if isinstance(setting.value, str) and "${" in setting.value:
            raise ConfigImportError(f"{setting.where}: {setting.value!r} is an interpolation; write the value itself")
    if listed is None:
        return own
    entries = listed.value if isinstance(listed.value, list) else [listed.value]
    layers = [own if entry == "_self_" else compose(_named(entry, listed)) for entry in entries]
    if "_self_" not in entries:
        layers.append(own)
    settings: list[Setting] = []
    for layer in layers:
        settings = override(settings, layer)
    return settings


def _named(entry: Any, listed: Setting) -> Path:
    parts = (
        [entry] if isinstance(entry, str) else [f"{k}/{v}" for k, v in entry.items()] if isinstance(entry, dict) else []
    )
    file = listed.file.parent / f"{parts[0].removeprefix('override ')}.yaml" if len(parts) == 1 else None
    if file is None or not file.is_file():
        raise ConfigImportError(f"{listed.where}: {entry!r} names no file beside this one; put it there or remove it")
    return file


def read_hydra(files: dict[Path, list[Setting]], place: Place) -> Draft:
    """Return the draft of the SFT lane that the one config describes."""
    draft = Draft()
    file, settings = next(iter(files.items()))
    for other in list(files)[1:]:
        draft.miss(other, "(file)", f"is a second SFT config beside {file}; import it as a lane of its own")
    joined = Joined(apply_table(HYDRA, settings, "sft", draft), "sft", draft)
    require_section("sft", file, draft)
    put_base_model(joined, "model_name", "model_revision", file, place)
    if not {"epochs", "max_steps"} & joined.settings.keys():
        draft.miss(file, "epochs", "is missing; say how long to train")
    put_duration(joined, "epochs", 3.0)
    put_schedule(joined, default="linear")
    length = joined.get("max_length", integer, 512)
    joined.put("max_length", length, "max_length", "longer conversations are left out and counted, never cut")
    draft.put("sft_set.max_tokens", max(16, length), "max_length", joined.settings.get("max_length"))
    _data(joined, file, place)
    _precision(joined)
    devices = joined.get("cuda_visible_devices", _devices)
    if devices is not None and "sft.num_processes" not in draft.entries:
        joined.put("num_processes", devices, "cuda_visible_devices", "set CUDA_VISIBLE_DEVICES where the run runs")
    return draft


def _data(joined: Joined, file: Path, place: Place) -> None:
    draft = joined.draft
    source = joined.get("data_source", _local)
    layout = joined.get(
        "data_format", one_of({"messages": 0, "prompt_completion": 1}, "messages or prompt_completion"), 0
    )
    folder, pattern = joined.get("dataset_path", text), joined.get("dataset_pattern", text, "*.jsonl")
    if source:
        joined.tell("data_source", "same", "files of this machine")
    if folder is None:
        draft.miss(file, "dataset_path", "is missing; name the folder of the training files")
        return
    found = next((path for path in _candidates(folder, file) if list(path.glob(pattern))), None)
    if found is None:
        joined.refuse("dataset_path", f"{folder} has no file {pattern}; put the files there, or mend path or pattern")
        return
    target = found / pattern
    if layout:
        try:
            rows = [row for path in sorted(found.glob(pattern)) for row in read_pairs(path, "prompt", "completion")]
            target = place.data_file("sft_set", "training-data")
            draft.keep(target, rows)
        except Unusable as error:
            joined.refuse("data_format", str(error))
            return
        joined.tell("data_format", "translated", f"{len(rows)} pairs of prompt and completion -> {target}")
    else:
        joined.tell("data_format", "same", "messages")
    spec = {"kind": "files", "name": "training-data", "pattern": place.pattern(target)}
    draft.put("sft_set.sources", [spec], "dataset_path, dataset_pattern", joined.settings["dataset_path"])
    draft.put("sft_set.eval_share", 0.1, "held out for the gate, never trained on")
    for key in ("dataset_path", "dataset_pattern"):
        joined.tell(key, "translated", f"-> sft_set.sources: {spec['pattern']}")


def _candidates(folder: str, file: Path) -> list[Path]:
    """The workshop runs from the folder above its `configs/`."""
    return [root / folder for root in (Path(), file.parent, file.parent.parent)]


def _local(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else value
    if kind != "local":
        raise Unusable(f"{kind!r} cannot be honoured: check the data out and set it to local")
    return kind


def _devices(value: Any) -> int:
    return len(names(str(value) if isinstance(value, int) and not isinstance(value, bool) else value))


def _precision(joined: Joined) -> None:
    given = [key for key in ("bf16", "fp16") if joined.get(key, flag, False)]
    joined.put(
        "precision",
        "bf16",
        given[0] if given else "bf16",
        "bfloat16 in place of float16: no loss scaling; needs a GPU since Ampere" if given[:1] == ["fp16"] else "",
    )
    if given[:1] == ["bf16"]:
        joined.tell("fp16", "unneeded", "bf16 is set")
    elif given:
        joined.tell("bf16", "unneeded", "fp16 is set")
    for key, bits in (("load_in_4bit", "4bit"), ("load_in_8bit", "8bit")):
        if joined.get(key, flag, False):
            joined.put("quantization", bits, key)
        else:
            joined.tell(key, "same", "false: not quantised")
