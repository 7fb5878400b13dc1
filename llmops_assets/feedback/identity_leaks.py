"""Texts that give away which model wrote them: a vote on such an answer may be a vote on a name.

Chatbot Arena's cleaning drops battles by a list of words in the same way (FastChat, monitor/clean_battle_data.py).
"""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePath

# Names that mean nothing else.
_MODELS = (
    r"chat[ _-]?gpt",
    r"gpt[ _-]?\d{1,2}(?:\.\d)?o?",
    r"codellama",
    r"code llama",
    r"chatglm",
    r"deepseek",
    r"internlm",
    r"mixtral",
    r"nemotron",
    r"qwen(?:[ -]?\d+(?:\.\d)?)?",
    r"smollm\d?",
    r"starcoder",
    r"vicuna",
    r"wizardlm",
)
_VENDORS = (r"anthropic", r"deepmind", r"lmsys", r"mistral ai", r"moonshot ai", r"openai", r"zhipu(?: ai)?")
# Names that are words, people or firms as well: they count with a version behind them, or where a model speaks.
_VERSIONED = (
    r"claude[ -](?:instant|haiku|sonnet|opus|\d(?:\.\d)?)",
    r"falcon[ -]?(?:7|40|180)b",
    r"gemini[ -](?:(?:\d(?:\.\d)?[ -])?(?:nano|flash|pro|ultra)|\d\.\d)",
    r"gemma[ -]?\dn?",
    r"grok[ -]?\d(?:\.\d)?",
    r"llama[ -]?\d(?:\.\d)?",
    r"mistral[ -]?(?:7b|small|medium|large|nemo)",
    r"phi-\d(?:\.\d)?",
)
_AMBIGUOUS = (
    *("alpaca", "bard", "claude", "copilot", "falcon", "gemini", "gemma", "grok", "kimi", "koala", "llama", "mistral"),
    *("alibaba(?: cloud)?", "cohere", "google", "hugging face", "meta(?: ai)?", "microsoft", "nvidia", "xai"),
)
_SPEAKING = (
    r"(?:i am|i['\u2019]m|my name is|call me)(?: an?| the)?(?: ai| language)?(?: model| assistant)?",
    r"(?:i was|i am|model|assistant|ai) (?:made|built|created|developed|designed|trained) by(?: the team at)?",
    r"(?:model|assistant|ai)(?: named| called| from| by| of)",
)
# Scripts written without spaces (Thai, Lao, Khmer, kana, Han): a name of one, or next to one, needs no space.
_UNSPACED = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Beside a well-known name there may be a dot or an underscore, as in an address or in emphasis.
_BEFORE = rf"(?:(?<![^\W_])|(?<=[{_UNSPACED}])|(?=[{_UNSPACED}]))"
_AFTER = rf"(?:(?![^\W_])|(?=[{_UNSPACED}])|(?<=[{_UNSPACED}]))"
# A version label with more behind or before it (v1.0.3, my.v1) names something else.
_BEFORE_LABEL = rf"(?:(?<![\w.])|(?<=[{_UNSPACED}])|(?=[{_UNSPACED}]))"
_AFTER_LABEL = rf"(?:(?!\w)|(?=[{_UNSPACED}])|(?<=[{_UNSPACED}]))(?!\.\d)"


class IdentityNames:
    """The names that give a side away in one lane.

    Names of well-known models and vendors count everywhere; those that are words as well (gemini, claude, meta) only
    with a version, or where a model speaks of itself. `labels` are the lane's own version labels. Of `base_model`, a
    hub id or a folder, the last part counts if it has a digit: `embedded` is a word, `qwen2.5-0.5b` is not. `more` are
    taken as they are written. A match that contains one of `allowed` is the lane's subject, and no leak. Letter case
    and white space make no difference.
    """

    def __init__(
        self,
        labels: Iterable[str] = (),
        base_model: str = "",
        *,
        more: Iterable[str] = (),
        allowed: Iterable[str] = (),
    ) -> None:
        base = PurePath(base_model).name
        own = [*labels, *more, *([base] if re.search(r"\d", base) else [])]
        named = sorted((re.escape(_folded(name)) for name in own if name.strip()), key=len, reverse=True)
        known = "|".join([*_VERSIONED, *_MODELS, *_VENDORS])
        spoken = f"(?:{'|'.join(_SPEAKING)}) (?P<spoken>{'|'.join(_AMBIGUOUS)})"
        own_names = [f"{_BEFORE_LABEL}(?P<own>{'|'.join(named)}){_AFTER_LABEL}"] if named else []
        # Of two names in one place the first of these counts: qwen2.5-0.5b-instruct and not qwen2.5.
        self._pattern = re.compile("|".join([*own_names, f"{_BEFORE}(?:(?P<known>{known})|{spoken}){_AFTER}"]))
        self._allowed = tuple(_folded(name) for name in allowed if name.strip())

    def found_in(self, text: str) -> set[str]:
        """Return the names in `text`, folded."""
        matches = self._pattern.finditer(_folded(text))
        found = {name for match in matches for name in match.groupdict().values() if name is not None}
        return {name for name in found if not any(allowed in name for allowed in self._allowed)}

    def places(self, **texts: str) -> str:
        """Return where names stand, such as `chosen: chatgpt; prompt: v1.1`; empty if there are none."""
        named = {place: self.found_in(text) for place, text in texts.items()}
        return "; ".join(f"{place}: {', '.join(sorted(names))}" for place, names in named.items() if names)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
