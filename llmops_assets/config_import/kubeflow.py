"""Parameter files of the Kubeflow pipeline: SFT, KD and DPO runs of one student become the stages of a lane."""

from pathlib import Path
from typing import Any

from llmops_assets.config_import.draft import Draft, Joined, apply_table
from llmops_assets.config_import.kubeflow_keys import (
    EPOCHS,
    GROUPS,
    KUBEFLOW,
    LEARNING_RATES,
    SECTIONS,
    STUDENTS,
    TEACHER,
)
from llmops_assets.config_import.places import Place
from llmops_assets.config_import.row_files import is_lane_conversation, read_pairs, read_rows
from llmops_assets.config_import.settings import ConfigImportError, Setting, read_settings
from llmops_assets.config_import.shared_keys import (
    model_folder,
    put_base_model,
    put_default_base_model,
    put_duration,
    put_pairs,
    require_section,
)
from llmops_assets.config_import.values import Unusable, flag, integer, one_of, text
from llmops_assets.data.formats.texts import class_of
from llmops_assets.data.inspection import read_uniform
from llmops_assets.errors import LlmopsError

_TRAIN_TYPES = {name: name for name in SECTIONS}
_PAIRS = (("prompt", "completion"), ("input", "teacher_output"))


def read_parameters(file: Path) -> list[Setting]:
    """Return the parameters of a file; a list of `{name, value}` is read as well, and an empty text is not set.

    Raises:
        ConfigImportError: the file cannot be read, or an item of its list is no parameter or given twice.
    """
    flat: list[Setting] = []
    for setting in read_settings(file, GROUPS):
        listed = setting.key in GROUPS and isinstance(setting.value, list)
        flat += _listed(setting) if listed else [setting]
    return [Setting(s.key, None if s.value == "" else s.value, s.file, s.line) for s in flat]


def _listed(group: Setting) -> list[Setting]:
    parameters: dict[str, Setting] = {}
    for number, item in enumerate(group.value, start=1):
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name:
            raise ConfigImportError(
                f"{group.where}: item {number} is {item!r}, and no parameter; write it as {{name: train_type, value: "
                "SFT}, or all parameters as `key: value` lines"
            )
        if name in parameters:
            raise ConfigImportError(f"{group.where}: item {number}: {name} is given twice; keep one")
        parameters[name] = Setting(name, item.get("value"), group.file, group.line)
    return list(parameters.values())


def read_kubeflow(files: dict[Path, list[Setting]], place: Place) -> Draft:
    """Return the draft of the lane that the parameter files describe together."""
    draft = Draft()
    typed = sorted(
        ((stage, file) for file, settings in files.items() if (stage := _stage(file, settings, draft))),
        key=lambda item: list(SECTIONS).index(item[0]),
    )
    stages = [stage for stage, _ in typed]
    for index, (stage, file) in enumerate(typed):
        if stage in stages[:index]:
            draft.miss(file, "train_type", f"another file is {stage.upper()} too; a lane has one of each")
            continue
        if stage == "dpo" and "sft" not in stages:
            draft.miss(
                file,
                "train_type",
                "in a lane DPO starts from an SFT adapter; give the parameters of the SFT run too: "
                f"llmops import-config sft.yaml {file}",
            )
        _read_stage(stage, file, files[file], draft, place)
    return draft


def _stage(file: Path, settings: list[Setting], draft: Draft) -> str | None:
    setting = next((setting for setting in settings if setting.key == "train_type"), None)
    if setting is None:
        draft.miss(file, "train_type", "is missing; say SFT, KD or DPO")
        return None
    try:
        return one_of(_TRAIN_TYPES, "train types are SFT, KD and DPO")(setting.value)
    except Unusable as error:
        draft.refuse(setting, str(error))
        return None


def _read_stage(stage: str, file: Path, settings: list[Setting], draft: Draft, place: Place) -> None:
    joined = Joined(apply_table(KUBEFLOW, settings, stage, draft), stage, draft)
    require_section(stage, file, draft)
    joined.get("train_type", text)
    joined.tell("train_type", "translated", f"-> the section {stage}")
    flow = joined.get("flow_type", one_of({name: name for name in STUDENTS}, "flow types are IDP and CodeGen"))
    if "student" not in joined.settings and flow is not None:
        joined.tell("flow_type", "translated", f"-> base_model.name: {STUDENTS[flow][0]}, its default student")
        put_default_base_model(joined, "flow_type", *STUDENTS[flow])
    else:
        joined.tell("flow_type", "unread", "chooses the student where none is named")
        put_base_model(joined, "student", "(revision)", file, place)
    put_duration(joined, "epochs", EPOCHS[stage])
    draft.put(f"{stage}.learning_rate", LEARNING_RATES[stage], "no parameter of the pipeline; set yours")
    draft.tell("(learning rate)", "look", f"{stage}: the pipeline names none; the recipe has {LEARNING_RATES[stage]:g}")
    draft.put(f"{stage}.max_length", 2048, "no parameter of the pipeline; set yours")
    if stage == "kd":
        _distillation(joined, file)
    _data(joined, stage, file, place)


def _distillation(joined: Joined, file: Path) -> None:
    given = joined.get("teacher", text)
    name = str(model_folder(given, file) or given) if given else None
    joined.draft.put("teacher.name", name or TEACHER[0], "teacher" if name else "default teacher")
    if name is None:
        joined.draft.put("teacher.revision", TEACHER[1])
    joined.tell("teacher", "translated", f"-> teacher.name: {name}")
    joined.put("method", "logits" if joined.get("use_logit_kd", flag, False) else "sequence", "use_logit_kd")


def _data(joined: Joined, stage: str, file: Path, place: Place) -> None:
    draft = joined.draft
    data = joined.get("data", text)
    if data is None:
        if "data" not in joined.settings:
            draft.miss(file, "data", "is missing; name the training data")
        return
    path = next((path for path in (Path(data), file.parent / data) if path.exists()), None)
    if path is None:
        joined.refuse("data", f"{data} is not here; fetch it, and name the file or folder")
        return
    spec: dict[str, Any] = {"kind": "files", "name": "training-data"}
    if stage == "dpo":
        if complaint := _no_pairs(path):
            joined.refuse("data", complaint)
        else:
            put_pairs(joined, "data", [{**spec, "pattern": place.pattern(path)}], place)
        return
    try:
        target, rows = _conversations(path, place)
        if rows is not None:
            draft.keep(target, rows)
    except Unusable as error:
        joined.refuse("data", str(error))
        return
    if rows is not None:
        draft.tell("data", "translated", f"{len(rows)} rows of {path} -> {target}")
    spec["pattern"] = place.pattern(target)
    known = draft.entries.get("sft_set.sources")
    if known is not None and known.value != [spec]:
        joined.refuse("data", "differs from that of the other file; the stages of a lane share one sft_set")
        return
    draft.put("sft_set.sources", [spec], "data", joined.settings["data"])
    draft.put("sft_set.max_tokens", 2048)
    per_class = joined.get("val_per_class", integer, 0)
    if per_class and not all(class_of(row, None) for row in rows or read_rows(path)):
        joined.refuse("val_per_class", f"not every row of {path} has a text under `category` that names its class")
    elif per_class:
        draft.put("sft_set.val_per_class", per_class, "val_per_class", joined.settings["val_per_class"])
        joined.tell("val_per_class", "translated", f"-> sft_set.val_per_class: {per_class}, drawn by hash")
    else:
        draft.put("sft_set.eval_share", 0.1, "held out for the gate, never trained on")
        joined.tell("val_per_class", "unread", "is 0; the lane holds out a tenth of the questions")
    joined.tell("data", "translated", f"-> sft_set.sources: {spec['pattern']}")


def _no_pairs(path: Path) -> str | None:
    """Return why no record of `path` is a preference pair, or None if one is."""
    if not path.is_file():
        return f"{path} is no file; name the file of pairs"
    try:
        report, rows = read_uniform(path, "preferences")
        if any(isinstance(row, dict) for row in rows):
            return None
    except LlmopsError as error:
        return str(error)
    first = report.problems[0] if report.problems else None
    why = f"line {first.line}: {first.reason}: {first.detail}" if first else "it has no record"
    return f"{path} holds no preference pair ({why}); docs/data.md has the layouts"


def _conversations(path: Path, place: Place) -> tuple[Path, list[dict[str, Any]] | None]:
    """Return the file that the lane reads and, where it has to be written first, its rows."""
    rows = read_rows(path)
    if path.suffix == ".jsonl" and all(is_lane_conversation(row) for row in rows):
        return path, None
    if all(is_lane_conversation(row) for row in rows):
        messages = [{"messages": row["messages"]} for row in rows]
        return place.data_file("sft_set", "training-data"), _with_classes(messages, rows)
    for question, answer in _PAIRS:
        if rows and {question, answer} <= rows[0].keys():
            pairs = read_pairs(path, question, answer)
            return place.data_file("sft_set", "training-data"), _with_classes(pairs, rows)
    raise Unusable(
        f"{path} has rows of {sorted(rows[0]) if rows else 'nothing'}; messages or prompt and completion fit"
    )


def _with_classes(conversations: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the conversations with the classes that their rows are of."""
    classes = ((each, class_of(row, None)) for each, row in zip(conversations, rows, strict=True))
    return [each if name is None else {**each, "category": name} for each, name in classes]
