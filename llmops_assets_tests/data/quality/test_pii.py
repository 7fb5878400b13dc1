import time

import pytest

from llmops_assets.data.quality.pii import Masker

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to jane.doe+list@uni-bonn.de.", "Write to <EMAIL_1>."),
        ("a@uni.de, b@uni.de and a@uni.de again", "<EMAIL_1>, <EMAIL_2> and <EMAIL_1> again"),
        ("from 8.8.8.8, or 2001:4860:4860::8888", "from <IP_1>, or <IP_2>"),
        ("card 4111 1111 1111 1111", "card <CARD_1>"),
        ("card 4111 1111 1111 1111 12/25 123", "card <CARD_1> 12/25 123"),
        ("Table 25 4111-1111-1111-1111, 4111111111111111 123", "Table 25 <CARD_1>, <CARD_2> 123"),
        ("2500 4111 1111 1111 1111 and 3782 822463 10005", "2500 <CARD_1> and <CARD_2>"),
        ("http://8.8.8.8:8080/x or 8.8.4.4:53", "http://<IP_1>:8080/x or <IP_2>:53"),
        ("addr:8.8.8.8 from 8.8.4.4: denied", "addr:<IP_1> from <IP_2>: denied"),
        ("John.....john@gmail.com .jane@uni.de", "John.....<EMAIL_1> .<EMAIL_2>"),
        ("IBAN ES91 2100 0418 4502 0005 1332 BIC CAIXESBB", "IBAN <IBAN_1> BIC CAIXESBB"),
        ("BE68 5390 0754 7034 BANK", "<IBAN_1> BANK"),
        ("BE68 5390 0754 7034 BE68 5390 0754 7034", "<IBAN_1> <IBAN_1>"),
        ("AB12 CDEF DE89 3704 0044 0532 0130 00", "AB12 CDEF <IBAN_1>"),
        ("DE89 3704 0044 0532 0130 00 or GB82WEST12345698765432", "<IBAN_1> or <IBAN_2>"),
        ("call +49 30 901820 now", "call <PHONE_1> now"),
        ("AKIAIOSFODNN7EXAMPLE", "<SECRET_1>"),
        ("https://bob:hunter2@host.org/x", "https://<SECRET_1>@host.org/x"),
        (f"token {JWT}", "token <SECRET_1>"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----", "<SECRET_1>"),
        ("github_pat_11ABCDEFG0aBcDeFgHiJkL_x", "<SECRET_1>"),
        (
            "a -----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOYBF\n=ab\n-----END PGP PRIVATE KEY BLOCK----- b",
            "a <SECRET_1> b",
        ),
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
        "version: 1.2.3.4, Version=1.2.3.4, 1.2.3.4.5:80",
        "2 3 4 5 6 2 3 4 5 6 2 3 4 5 6 2 3 4 5 6 2 3 4 5 6",
        "the file starts with -----BEGIN PRIVATE KEY----- and then has letters",
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


@pytest.mark.parametrize(
    ("excerpt", "masked"),
    [
        ("key -----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\nabc…", "key <SECRET_1>"),
        ("write to jane@uni-bo…", "write to …"),
        ("card 4111 1111 1111 1…", "card …"),
        ("bank GB82 WEST 1234 56…", "bank …"),
        ('{"mail":"jane@uni-bo…', '{"mail":"…'),
        ("a@uni.de and more words…", "<EMAIL_1> and more …"),
        ("a@uni.de", "<EMAIL_1>"),
    ],
)
def test_an_excerpt_shows_no_part_of_a_value_that_was_cut(excerpt: str, masked: str) -> None:
    assert Masker().mask_excerpt(excerpt) == masked


@pytest.mark.parametrize(
    "piece",
    [
        "4",
        "4 ",
        "4111 ",
        "1.",
        "a.",
        "a..",
        "a@",
        "AB12 ",
        "A1",
        ":1",
        "-----BEGIN PRIVATE KEY-----",
        "8.8.8.8:",
        "eyJa.",
    ],
)
def test_time_grows_with_the_length_of_a_text_alone(piece: str) -> None:
    began = time.process_time()
    Masker().mask(piece * (100_000 // len(piece)))
    assert time.process_time() - began < 3
