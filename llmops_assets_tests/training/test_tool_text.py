"""Tools written as text by the data stages against what Qwen2.5's own chat template writes of the same conversation."""

from typing import Any

from trl.chat_template_utils import qwen2_5_chat_template

from llmops_assets.data.formats.turns import messages_of
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.model import load_tokenizer

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "länge",
            "description": 'The length of a "text".',
            "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
        },
    }
]


def call(text: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "länge", "arguments": {"text": text}}}


CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How long are 'ä' and 'bb'?"},
    {"role": "assistant", "content": "I will see.", "tool_calls": [call("ä"), call("bb")]},
    {"role": "tool", "content": "1"},
    {"role": "tool", "content": "2"},
    {"role": "assistant", "content": "1 and 2."},
    {"role": "user", "content": "And <b>?"},
    {"role": "assistant", "content": "", "tool_calls": [call("<b>")]},
    {"role": "tool", "content": '{"length": 3}'},
    {"role": "assistant", "content": "3."},
]


def test_conversation_with_tools_reads_as_the_template_of_qwen_writes_it(base: BaseModelRef) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = qwen2_5_chat_template
    expected = tokenizer.apply_chat_template(CONVERSATION, tools=TOOLS, tokenize=False)  # pyright: ignore[reportArgumentType]
    messages = [message.to_row() for message in messages_of(CONVERSATION, tools=TOOLS)]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == expected
