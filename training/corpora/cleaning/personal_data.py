"""E-mail addresses, phone numbers and IP addresses give way to a marker, so that no model learns anybody's.

Phone numbers are those that the numbering plans allow (Google's libphonenumber), and only where they are written as
one: with a country code or separators. Addresses of private networks and this machine identify nobody and stay.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

from phonenumbers import Leniency, PhoneNumberMatcher

from training.corpora.cleaning.rules import Verdict

EMAIL, PHONE, ADDRESS = "[email]", "[phone]", "[IP address]"
_EMAIL = re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)")
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){4,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_PHONE = re.compile(r"(?<![\w.+])(?:\+|\()?\d(?:[\s().-]{0,3}\d){6,14}(?!\w)")
_AROUND = 12


def replacing(phone_region: str) -> Callable[[str], Verdict]:
    def judge(text: str) -> Verdict:
        if "@" in text:
            text = _EMAIL.sub(EMAIL, text)
        for pattern in (_IPV4, _IPV6):
            text = pattern.sub(_address, text)
        return Verdict(_without_phones(text, phone_region or None))

    return judge


def _address(match: re.Match[str]) -> str:
    try:
        is_global = ipaddress.ip_address(match[0]).is_global
    except ValueError:
        return match[0]
    return ADDRESS if is_global else match[0]


def _without_phones(text: str, region: str | None) -> str:
    parts, end = [], 0
    for start, stop in _phones(text, region):
        parts += [text[end:start], PHONE]
        end = stop
    return "".join([*parts, text[end:]]) if parts else text


def _phones(text: str, region: str | None) -> Iterator[tuple[int, int]]:
    """Yield where valid numbers are. The matcher is slow, so it sees only what looks like one."""
    done = 0
    for candidate in _PHONE.finditer(text):
        if candidate[0].isdigit():
            continue  # a bare number, of anything
        begin = max(candidate.start() - _AROUND, done)
        for number in PhoneNumberMatcher(text[begin : candidate.end() + _AROUND], region, leniency=Leniency.VALID):
            if begin + number.start >= done and begin + number.start < candidate.end():
                yield begin + number.start, begin + number.end
                done = begin + number.end
