import pytest

from llmops_assets.data.pii import Masker

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to jane.doe+list@uni-bonn.de.", "Write to <EMAIL_1>."),
        ("a@uni.de, b@uni.de and a@uni.de again", "<EMAIL_1>, <EMAIL_2> and <EMAIL_1> again"),
        ("from 8.8.8.8, or 2001:4860:4860::8888", "from <IP_1>, or <IP_2>"),
        ("card 4111 1111 1111 1111", "card <CARD_1>"),
        ("DE89 3704 0044 0532 0130 00 or GB82WEST12345698765432", "<IBAN_1> or <IBAN_2>"),
        ("call +49 30 901820 now", "call <PHONE_1> now"),
        ("AKIAIOSFODNN7EXAMPLE", "<SECRET_1>"),
        ("https://bob:hunter2@host.org/x", "https://<SECRET_1>@host.org/x"),
        (f"token {JWT}", "token <SECRET_1>"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----", "<SECRET_1>"),
    ],
)
def test_what_passes_the_rule_of_its_kind_is_replaced(text: str, masked: str) -> None:
    masker = Masker()
    assert masker.mask(text) == masked
    assert masker.found.total() == masked.count("<")


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com and root@localhost, me@host.test",
        "192.168.0.1, 127.0.0.1, 10.1.2.3 and 999.1.1.1",
        "version 1.2.3.4, v1.2.3.4, 1.2.3.4.5 and section 3.14",
        "std::vector, a::b, 10:20:30, dict[a:b:c]",
        "4111 1111 1111 1112 and 0000 0000 0000 0000 and 1234567890123456",
        "DE88 3704 0044 0532 0130 00 and AB12 CDEF 0000 1111",
        "@decorator def f(x): return x @ y",
        "eyJub3QganNvbg.eyJub3QganNvbg.abcdefghijkl",
        "+1 234 or 2 + 49 times",
        "sk-learn-is-a-library-of-many-things",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    masker = Masker()
    assert masker.mask(text) == text
    assert not masker.found


def test_numbers_as_written_at_home_are_found_in_their_region_alone() -> None:
    assert Masker().mask("(650) 253-0000") == "(650) 253-0000"
    assert Masker("US").mask("(650) 253-0000") == "<PHONE_1>"


def test_a_document_that_is_masked_twice_stays_the_same() -> None:
    once = Masker().mask("a@uni.de 8.8.8.8 4111 1111 1111 1111 +49 30 901820")
    assert Masker().mask(once) == once
