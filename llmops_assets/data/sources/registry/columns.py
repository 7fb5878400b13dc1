"""Which column of a data set holds what: an entry of a registry, read as LLaMA-Factory reads it."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmops_assets.data.formats.turns import SPEAKERS
from llmops_assets.data.sources.registry.entries import Entry, RegistryError

_COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "messages": "conversations"}
_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
# The roles of a lane's records by the tag that names them.
ROLE_TAGS = {
    "user": "user_tag",
    "assistant": "assistant_tag",
    "system": "system_tag",
    "observation": "observation_tag",
    "function_call": "function_tag",
}
_NEEDED_TAGS = ("role_tag", "content_tag", "user_tag", "assistant_tag")
_MEDIA = ("images", "videos", "audios")
# What LLaMA-Factory reads of an entry, by the mapping that it stands in; it passes over everything else.
_READ = {
    "": frozenset(
        {"file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "formatting"}
        | {"ranking", "subset", "split", "folder", "num_samples", "columns", "tags"}
    ),
    "columns": frozenset({*_COLUMNS, *_MEDIA, "history", "system", "tools", "chosen", "rejected", "kto_tag"}),
    "tags": frozenset(_TAGS),
}


@dataclass(frozen=True)
class Columns:
    """Which columns of a data set hold what; None where a layout lacks the column."""

    formatting: str
    prompt: str | None
    query: str | None
    response: str | None
    history: str | None
    messages: str | None
    system: str | None
    thumb: str | None
    tools: str | None
    chosen: str | None
    rejected: str | None
    ranked: bool
    role: str
    content: str
    roles: Mapping[str, str]

    @classmethod
    def of(cls, entry: Entry) -> "Columns":
        """Read an entry of dataset_info.json; of `columns` and `tags`, those that one does not name do not exist.

        Raises RegistryError for images, video and sound, and for what LLaMA-Factory cannot read.
        """
        formatting = entry.get("formatting") or "alpaca"
        if formatting not in ("alpaca", "sharegpt", "openai"):
            raise RegistryError(f"formatting {formatting!r} cannot be read; alpaca, sharegpt and openai can")
        columns, tags = _names(entry, "columns", _COLUMNS), _names(entry, "tags", _TAGS)
        unreadable = [key for key in _MEDIA if columns.get(key)]
        if unreadable:
            raise RegistryError(f"has columns for {', '.join(unreadable)}; lanes are text")
        missing = [key for key in _NEEDED_TAGS if not tags.get(key)]
        if formatting != "alpaca" and missing:
            raise RegistryError(
                f"`tags` names no {', '.join(missing)}, and LLaMA-Factory has no default beside `tags`; add it there"
            )
        roles = {role: tags.get(tag) for role, tag in ROLE_TAGS.items()}
        return cls(
            formatting=formatting,
            prompt=columns.get("prompt"),
            query=columns.get("query"),
            response=columns.get("response"),
            history=columns.get("history"),
            messages=columns.get("messages"),
            system=columns.get("system"),
            thumb=columns.get("kto_tag"),
            tools=columns.get("tools"),
            chosen=columns.get("chosen"),
            rejected=columns.get("rejected"),
            ranked=bool(entry.get("ranking")),
            role=tags.get("role_tag", ""),
            content=tags.get("content_tag", ""),
            roles={tag: role for role, tag in roles.items() if tag},
        )

    @property
    def are_lane_messages(self) -> bool:
        """Whether the column `messages` is a list of turns that a lane reads as it is."""
        tags_fit = (self.role, self.content) in (("role", "content"), ("from", "value"))
        roles_fit = all(SPEAKERS.get(tag) == SPEAKERS[role] for tag, role in self.roles.items())
        return self.formatting != "alpaca" and self.messages is not None and tags_fit and roles_fit


def check_purpose(columns: Columns, section: str) -> None:
    """Raise RegistryError if the rows of an entry are no rows for `section` of a recipe.

    Sections are corpus, sft_set, thumbs_set and preferences.
    """
    if section == "sft_set" and columns.thumb:
        raise RegistryError(
            "`columns.kto_tag` makes it a set of thumbs, of which LLaMA-Factory's stage sft leaves every row out; name "
            "the set in a kto config, or remove kto_tag"
        )
    if columns.ranked != (section == "preferences"):
        kind = "preference pairs (ranking: true)" if columns.ranked else "no preference pairs (no ranking: true)"
        raise RegistryError(f"holds {kind}, which the stage does not train on; name another set")
    if section == "corpus" and (columns.formatting != "alpaca" or columns.history):
        raise RegistryError(
            "holds conversations, of which LLaMA-Factory's stage pt reads the first turn alone; name texts"
        )


def unread_keys(entry: Entry) -> list[str]:
    """Return the keys of an entry of dataset_info.json that LLaMA-Factory passes over."""
    unread = [key for key in entry if key not in _READ[""]]
    if not entry.get("hf_hub_url"):
        unread += [key for key in ("subset", "folder") if entry.get(key)]
    for group in ("columns", "tags"):
        unread += [f"{group}.{key}" for key in entry.get(group) or {} if key not in _READ[group]]
    return unread


def _names(entry: Entry, group: str, defaults: Mapping[str, str]) -> dict[str, str]:
    if group not in entry:
        return dict(defaults)
    given = entry[group]
    if not isinstance(given, dict):
        raise RegistryError(f"`{group}` must be an object of names, and is {given!r}; mend it in dataset_info.json")
    named = {key: value for key, value in given.items() if value is not None}
    wrong = [key for key, value in named.items() if not isinstance(value, str)]
    if wrong:
        raise RegistryError(
            f"`{group}.{wrong[0]}` must be a text, and is {named[wrong[0]]!r}; mend it in dataset_info.json"
        )
    return named
