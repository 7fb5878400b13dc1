"""Which column of a data set holds what: an entry of LLaMA-Factory's `dataset_info.json`, read as it reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmops_assets.config_import.values import Unusable

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
    role: str
    content: str
    roles: Mapping[str, str]
    tool_roles: frozenset[str]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Columns":
        """Read an entry of dataset_info.json; of `columns` and `tags`, those that one does not name do not exist.

        Raises Unusable for preference data, tools, images, video and sound, and for what LLaMA-Factory cannot read.
        """
        formatting = entry.get("formatting") or "alpaca"
        if formatting not in ("alpaca", "sharegpt", "openai"):
            raise Unusable(f"formatting {formatting!r} cannot be read; alpaca, sharegpt and openai can")
        if entry.get("ranking"):
            raise Unusable("holds preference pairs (ranking: true); name a set of conversations")
        columns, tags = _names(entry, "columns", _COLUMNS), _names(entry, "tags", _TAGS)
        unreadable = [key for key in (*_MEDIA, "tools") if columns.get(key)]
        if unreadable:
            raise Unusable(f"has columns for {', '.join(unreadable)}; lanes are text without tools")
        missing = [key for key in _NEEDED_TAGS if not tags.get(key)]
        if formatting != "alpaca" and missing:
            raise Unusable(
                f"`tags` names no {', '.join(missing)}, and LLaMA-Factory has no default beside `tags`; add it there"
            )
        roles = {"user": tags.get("user_tag"), "assistant": tags.get("assistant_tag"), "system": tags.get("system_tag")}
        return cls(
            formatting=formatting,
            prompt=columns.get("prompt"),
            query=columns.get("query"),
            response=columns.get("response"),
            history=columns.get("history"),
            messages=columns.get("messages"),
            system=columns.get("system"),
            thumb=columns.get("kto_tag"),
            role=tags.get("role_tag", ""),
            content=tags.get("content_tag", ""),
            roles={tag: role for role, tag in roles.items() if tag},
            tool_roles=frozenset(tags[key] for key in ("observation_tag", "function_tag") if tags.get(key)),
        )

    @property
    def are_lane_messages(self) -> bool:
        """Whether the column `messages` is the list of role and content that a lane reads as it is."""
        tags_fit = self.role == "role" and self.content == "content"
        roles_fit = all(tag == role for tag, role in self.roles.items())
        return self.formatting != "alpaca" and self.messages is not None and tags_fit and roles_fit


def unread_keys(entry: Mapping[str, Any]) -> list[str]:
    """Return the keys of an entry of dataset_info.json that LLaMA-Factory passes over."""
    unread = [key for key in entry if key not in _READ[""]]
    if not entry.get("hf_hub_url"):
        unread += [key for key in ("subset", "folder") if entry.get(key)]
    for group in ("columns", "tags"):
        unread += [f"{group}.{key}" for key in entry.get(group) or {} if key not in _READ[group]]
    return unread


def _names(entry: Mapping[str, Any], group: str, defaults: Mapping[str, str]) -> dict[str, str]:
    if group not in entry:
        return dict(defaults)
    given = entry[group]
    if not isinstance(given, dict):
        raise Unusable(f"`{group}` must be an object of names, and is {given!r}; mend it in dataset_info.json")
    named = {key: value for key, value in given.items() if value is not None}
    wrong = [key for key, value in named.items() if not isinstance(value, str)]
    if wrong:
        raise Unusable(f"`{group}.{wrong[0]}` must be a text, and is {named[wrong[0]]!r}; mend it in dataset_info.json")
    return named
