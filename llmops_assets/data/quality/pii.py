"""Personal data in texts: found by patterns, each candidate checked by the rule that its kind must keep.

Names and postal addresses have no pattern and are not found. What is found is replaced by its kind and a number, the
same one for the same value in a document, and never stored.
"""

import base64
import binascii
import ipaddress
import json
import re
from collections import Counter
from collections.abc import Callable

_KEY_BEGINS = r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
# No dashes such as those around END are in a key, so that a text of many beginnings is not read to its end for each.
_PRIVATE_KEY = re.compile(rf"{_KEY_BEGINS}(?:(?!-----).)*-----END [A-Z ]{{0,30}}PRIVATE KEY(?: BLOCK)?-----", re.DOTALL)
_OPEN_KEY = re.compile(rf"{_KEY_BEGINS}.*", re.DOTALL)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_TOKEN = re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}")
# AWS, GitHub, OpenAI and its like, Slack, Google, Hugging Face.
_API_KEY = re.compile(
    r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}|sk-[A-Za-z0-9_-]{20,}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,}|AIza[\w-]{35}|hf_[A-Za-z0-9]{30,})"
)
_EMAIL = re.compile(
    r"(?<![\w+%-])(?<![\w+%-]\.)(?=[\w.+%-]{1,64}@)[\w+%-]+(?:\.[\w+%-]+)*@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}\b"
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
# Without groups, in groups of four with a shorter last one, or in those of American Express and Diners Club.
_CARD = re.compile(
    r"(?<![\d.-])(?:[2-6]\d{12,18}|[2-6]\d{3}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?|3\d{3}([ -])\d{6}\2\d{4,5})"
    r"(?!\d|-\d{4}|\.\d)"
)
_GROUP_END = re.compile(r"[ -]")
_IPV4 = re.compile(r"(?<![\w.])(?<![vV]ersion[ :=])(?<![vV]ersion: )\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
_IPV6 = re.compile(r"(?<![\w.:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:]|\.\d)")
_KEY_PARTS = ("AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "sk-", "xox", "AIza", "hf_")
_DIGIT = re.compile(r"\d")
# The last word, and the groups of digits or capitals before it.
_CUT_VALUE = re.compile(r'(?:(?<!\S)(?:[^\s"\d]*\d[^\s"]*|[A-Z]{4}) )*[^\s"]*…\Z')
# Names that belong to nobody (RFC 2606, RFC 6761).
_NOBODY = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|net|org))?|test|invalid|localhost)$", re.IGNORECASE)


class Masker:
    """Replaces the personal data of one document; `found` counts the places by kind."""

    def __init__(self, phone_region: str | None = None) -> None:
        """Find phone numbers as written abroad (+49 ...), and in `phone_region` (ISO 3166, such as US) as at home."""
        self.found: Counter[str] = Counter()
        self._region = phone_region
        self._names: dict[tuple[str, str], str] = {}
        self._values: Counter[str] = Counter()

    def mask(self, text: str) -> str:
        """Return `text` with `<EMAIL_1>`, `<IP_1>`, `<CARD_1>`, `<IBAN_1>`, `<PHONE_1>` or `<SECRET_1>` in the place.

        Addresses of e-mail must have a domain that somebody can own, IP addresses be public, cards pass Luhn's sum
        (ISO/IEC 7812-1), IBANs that of ISO 13616, phone numbers be possible ones of their country, JSON Web Tokens have
        a header.
        """
        if "PRIVATE KEY" in text:
            text = self._replace(text, "SECRET", _PRIVATE_KEY, lambda _: True)
        if "://" in text:
            text = self._replace(text, "SECRET", _CREDENTIALS, lambda _: True)
        if "eyJ" in text:
            text = self._replace(text, "SECRET", _TOKEN, _has_header)
        if any(part in text for part in _KEY_PARTS):
            text = self._replace(text, "SECRET", _API_KEY, _mixed)
        if "@" in text:
            text = self._replace(text, "EMAIL", _EMAIL, _is_owned)
        if _DIGIT.search(text):
            text = self._replace_groups(text, "IBAN", _IBAN, _keeps_mod_97)
            text = self._replace_groups(text, "CARD", _CARD, _keeps_luhn)
            text = self._replace(text, "IP", _IPV4, _is_public)
            text = self._replace(text, "IP", _IPV6, _is_public) if text.count(":") > 1 else text
            text = self._without_phones(text)
        return text

    def mask_excerpt(self, excerpt: str) -> str:
        """Return the beginning of a text as `mask` does, without what the cut (an ellipsis) left of a value."""
        if excerpt.endswith("…"):
            excerpt = self.mask(_CUT_VALUE.sub("…", excerpt))
            return self._replace(excerpt, "SECRET", _OPEN_KEY, lambda _: True)
        return self.mask(excerpt)

    def _replace(self, text: str, kind: str, pattern: re.Pattern[str], is_real: Callable[[str], bool]) -> str:
        return pattern.sub(lambda match: self._name(kind, match[0]) if is_real(match[0]) else match[0], text)

    def _replace_groups(self, text: str, kind: str, pattern: re.Pattern[str], is_real: Callable[[str], bool]) -> str:
        """Replace what keeps the rule, with or without the last ones of the groups that it is written in.

        A word or number that follows a value looks like one more group, and one before it like its first.
        """
        pieces: list[str] = []
        end = place = 0
        while match := pattern.search(text, place):
            value = match[0]
            ends = [len(value), *(gap.start() for gap in reversed([*_GROUP_END.finditer(value)]))]
            length = next((length for length in ends if is_real(value[:length])), 0)
            place = match.start() + (length or ends[-1])
            if length:
                pieces += [text[end : match.start()], self._name(kind, value[:length])]
                end = place
        return "".join([*pieces, text[end:]])

    def _name(self, kind: str, value: str) -> str:
        self.found[kind] += 1
        if (kind, value) not in self._names:
            self._values[kind] += 1
            self._names[kind, value] = f"<{kind}_{self._values[kind]}>"
        return self._names[kind, value]

    def _without_phones(self, text: str) -> str:
        if "+" not in text and self._region is None:
            return text
        from phonenumbers import PhoneNumberMatcher

        pieces: list[str] = []
        end = 0
        for match in PhoneNumberMatcher(text, self._region):
            pieces += [text[end : match.start], self._name("PHONE", match.raw_string)]
            end = match.end
        return "".join([*pieces, text[end:]])


def _mixed(value: str) -> bool:
    """Return whether a candidate for a key has digits and letters, as random ones have."""
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def _has_header(value: str) -> bool:
    head = value.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, binascii.Error):
        return False
    return isinstance(header, dict) and "alg" in header


def _is_owned(value: str) -> bool:
    return _NOBODY.search(value.partition("@")[2]) is None


def _is_public(value: str) -> bool:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    # Of version 6 only 2000::/3 is given out to people (RFC 4291); the rest reads like C++.
    return address.is_global and (address.version == 4 or address.packed[0] >> 5 == 1)


def _keeps_luhn(value: str) -> bool:
    digits = [int(character) for character in value if character.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return len(digits) > 12 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _keeps_mod_97(value: str) -> bool:
    compact = value.replace(" ", "")
    moved = compact[4:] + compact[:4]
    return 15 <= len(compact) <= 34 and int("".join(str(int(character, 36)) for character in moved)) % 97 == 1
