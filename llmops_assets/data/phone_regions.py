"""The countries whose phone numbers are known as they are written at home."""

from difflib import get_close_matches

# Those of phonenumbers, as a list of their own: recipes are checked where that package is not installed.
_CODES = """
AC AD AE AF AG AI AL AM AO AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BW BY BZ CA
CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GT GU GW GY HK HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR
MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PR PS PT PW PY QA RE RO
RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TA TC TD TG TH TJ TK TL TM TN TO TR TT
TV TW TZ UA UG US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""
PHONE_REGIONS = frozenset(_CODES.split())


def checked_region(code: str) -> str:
    """Return `code` if phone numbers of that country are known; raises ValueError with close ones if not."""
    if code in PHONE_REGIONS:
        return code
    written = code.strip().upper()
    # ISO 3166 reserves UK, and names the country GB.
    close = ["GB"] if written == "UK" else get_close_matches(written, sorted(PHONE_REGIONS), n=3)
    suggestion = f"did you mean {' or '.join(close)}? " if close else ""
    raise ValueError(f"{code!r} is no region of phone numbers; {suggestion}Write an ISO 3166 code, such as US or DE")
