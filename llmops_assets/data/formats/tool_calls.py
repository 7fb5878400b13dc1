"""Tools in a conversation, written as text in the Hermes format, so that every chat template can carry them.

The format is that of NousResearch's Hermes Function Calling and of Qwen2.5: the functions stand in the system turn
between `<tools>` tags, a call in the assistant's turn between `<tool_call>` tags, its result in a user turn between
`<tool_response>` tags. A conversation with a system turn then reads as Qwen2.5's own chat template would write it.
"""

import json
from collections.abc import Mapping
from typing import Any

from llmops_assets.data.jsonl import parse_json
from llmops_assets.data.records import Reason, RecordError

_SYSTEM = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{functions}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def tools_text(tools: object) -> str:
    """Return what the system turn says about `tools`; empty for none.

    `tools` is a list, or the JSON of one: function schemas, bare or as OpenAI wraps them (`{"type": "function",
    "function": {...}}`). Raises RecordError for anything else.
    """
    listed = _from_json(tools, "tools") if isinstance(tools, str) and tools.strip() else tools or []
    if not isinstance(listed, list):
        raise RecordError(Reason.WRONG_TYPE, f"`tools` is a {type(listed).__name__}, not a list of functions")
    functions = [json.dumps(_function(tool, f"tools[{i}]"), ensure_ascii=False) for i, tool in enumerate(listed)]
    return _SYSTEM.format(functions="\n".join(functions)) if functions else ""


def says_tools_alone(system: str) -> bool:
    """Return whether a system turn holds `tools_text` with nothing before it: a system prompt is still missing."""
    return system.startswith(_SYSTEM[: _SYSTEM.index("{functions}")])


def calls_text(calls: object, where: str) -> str:
    """Return an assistant's calls as text, one below the other.

    `calls` is one call or a list of them, or the JSON of that: `{"name", "arguments"}`, bare or under `function`.
    Arguments are an object, or the JSON of one. Raises RecordError for anything else.
    """
    given = _from_json(calls, where) if isinstance(calls, str) else calls
    listed = given if isinstance(given, list) else [given]
    if not listed:
        raise RecordError(Reason.INVALID_TOOL_CALL, f"`{where}` has no call")
    return "\n".join(f"<tool_call>\n{_call(call, where)}\n</tool_call>" for call in listed)


def response_text(content: str) -> str:
    """Return the result of a call as the text of a user turn."""
    return f"<tool_response>\n{content}\n</tool_response>"


def _call(call: object, where: str) -> str:
    if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping):
        call = call["function"]
    if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
        raise RecordError(Reason.INVALID_TOOL_CALL, f"`{where}` is no object with `name` and `arguments`")
    given = (call.get(key) for key in ("arguments", "parameters"))
    arguments = next((each for each in given if each is not None), {})
    if isinstance(arguments, str):
        arguments = _from_json(arguments, f"{where}.arguments") if arguments.strip() else {}
    if not isinstance(arguments, Mapping):
        kind = type(arguments).__name__
        raise RecordError(Reason.INVALID_TOOL_CALL, f"`{where}.arguments` is a {kind}, not an object")
    return json.dumps({"name": call["name"], "arguments": arguments}, ensure_ascii=False)


def _function(tool: object, where: str) -> Mapping[str, Any]:
    if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping):
        return tool
    if not isinstance(tool, Mapping) or not isinstance(tool.get("name"), str):
        raise RecordError(Reason.WRONG_TYPE, f"`{where}` is no function with a `name`")
    return {"type": "function", "function": tool}


def _from_json(text: str, where: str) -> Any:
    try:
        return parse_json(text)
    except RecordError as error:
        raise RecordError(Reason.INVALID_TOOL_CALL, f"`{where}` is no JSON: {error}") from error
