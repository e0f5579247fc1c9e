"""Taking secrets out of text: what looks like one, and what is known to be one, in plain and in encoded form.

Others write what is looked at here, such as the messages of a server. So no pattern may take more than one look at each
letter, or a bounded number: a search holds up all other threads.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus

REDACTED = "…"
SHORTEST_SECRET = 4
"""A known secret that is shorter is not looked for: it would be found everywhere."""
SECRET_NAME = re.compile(
    r"passw(or)?d|passphrase|\bpass\b|_pass\b|pwd|secret|token|api_?key|access_?key|private_?key|key_?id|credential"
    r"|authori[sz]ation|cookie|signature|session_?id|bearer|jwt",
    re.IGNORECASE,
)
"""What the name of a variable, a key or a header has in it if its value is secret."""
NO_SECRET_NAME = re.compile(r"(_|\b)files?$", re.IGNORECASE)
"""How a name ends whose value is where a secret stands."""
LOGIN_IN_URL = re.compile(r"(?<=://)[^\s/\"']*@")
QUERY_IN_URL = re.compile(r"(://[^\s?\"']*+)(?:\?[^\s'\"<>]*)?")
_HEADER = re.compile(
    r"(?im)\b((?:proxy-)?authori[sz]ation|(?:set-)?cookie|(?<!-)x-amz-[\w-]++|x-api-key|x-csrf-?token)"
    r"(['\"]?\s*[:=]\s*)[^\r\n]*"
)
_SCHEME = re.compile(r"\b(Basic|Bearer|Token|Negotiate)\s+(?=\S*[0-9=+/_])[A-Za-z0-9+/_.~=-]{8,}")
_PAIR = re.compile(
    r"(?i)(?<![\w-])(?=[\w-]*?(?:passw(?:or)?d|passphrase|pwd|secret|token|api_?key|access_?key|private_?key|credential"
    r"|signature|session_?id|cookie))(?P<name>[\w-]++)(?P<between>['\"]?\s*[=:]\s*)"
    r"(?P<value>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|[^\s,;&}\])'\"]+)"
)
_MACHINE = re.compile(r"(?im)(\blogin\s+\S+\s+password|^[^\S\n]*password)\s+\S+(?=\s*$|\s+account)")  # as in ~/.netrc
_HINTS = (
    "passw", "passphrase", "pwd", "secret", "token", "key", "credential", "signature", "session", "cookie", "authori",
    "x-amz-", "x-csrf",
)  # fmt: skip
"""Each text that _HEADER, _PAIR or _MACHINE matches has one of these in it, in small letters."""
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL)
_SHAPES = (
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"),  # access keys of AWS
    re.compile(r"\beyJ[\w-]{8,1000}\.[\w-]+\.[\w-]*"),  # JSON web tokens
    re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-)[\w-]{10,}"),
    re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{40}(?![0-9a-fA-F])"),  # tokens of Alyx
)
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")


def without_logins(text: str) -> str:
    """The text without logins and queries in its URLs: signatures stand there."""
    return QUERY_IN_URL.sub(r"\1", LOGIN_IN_URL.sub("", text))


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without `secrets`, in whatever encoding, and without anything that looks like one."""
    known = sorted({each for each in secrets if len(each) >= SHORTEST_SECRET}, key=len, reverse=True)
    text = _KEY_BLOCK.sub(REDACTED, text)
    if known:
        text = _without_encoded(text, known)
        for secret in known:
            for form in _forms(secret):
                text = text.replace(form, REDACTED)
    text = without_logins(text)
    text = _SCHEME.sub(rf"\1 {REDACTED}", text)
    folded = text.casefold()
    if any(hint in folded for hint in _HINTS):  # most lines of a log have none, and the patterns are slow
        text = _HEADER.sub(rf"\1\2{REDACTED}", text)
        text = _PAIR.sub(_without_value, text)
        text = _MACHINE.sub(rf"\1 {REDACTED}", text)
    for shape in _SHAPES:
        text = shape.sub(REDACTED, text)
    return text


def redacted_values(value: Any, secrets: Iterable[str] = ()) -> Any:
    """The same of JSON or TOML: texts are redacted, and what stands under a secret's name is left out."""
    known = list(secrets)
    if isinstance(value, Mapping):
        return {
            redacted(str(key), known): REDACTED if is_secret_name(str(key)) and each else redacted_values(each, known)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted_values(each, known) for each in value]
    return redacted(value, known) if isinstance(value, str) else value


def is_secret_name(name: str) -> bool:
    """Whether what stands under a name is secret, rather than where a secret stands."""
    return SECRET_NAME.search(name) is not None and NO_SECRET_NAME.search(name) is None


def secrets_in(value: Any, name: str = "") -> set[str]:
    """The texts in JSON or TOML that stand under a secret's name, and the logins in its URLs."""
    if isinstance(value, Mapping):
        return {secret for key, each in value.items() for secret in secrets_in(each, f"{name} {key}")}
    if isinstance(value, list | tuple):
        return {secret for each in value for secret in secrets_in(each, name)}
    if not isinstance(value, str):
        return set()
    found = {value.strip()} if is_secret_name(name) else set()
    for login in LOGIN_IN_URL.findall(value):
        _, separator, password = login[:-1].partition(":")
        if separator:
            found |= {password, unquote_plus(password)}
    return found - {""}


def _without_value(match: "re.Match[str]") -> str:
    if not is_secret_name(match["name"]):
        return match[0]
    value = match["value"]
    mark = value[0] if value[0] in "\"'" else ""
    return f"{match['name']}{match['between']}{mark}{REDACTED}{mark}"


def _forms(secret: str) -> list[str]:
    """A secret as it may stand in a text, those first that hold others."""
    forms = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]}
    forms |= {json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    forms |= {form.lower() for form in forms if "%" in form}
    return sorted(forms, key=len, reverse=True)


def _without_encoded(text: str, known: list[str]) -> str:
    """The text without words of base64 in which a secret stands."""
    needles = [secret.encode() for secret in known]

    def replaced(match: "re.Match[str]") -> str:
        word = match[0].rstrip("=").translate(str.maketrans("-_", "+/"))
        for begin in range(4):  # what stands before it may be of the same letters
            part = word[begin:]
            try:
                decoded = base64.b64decode(part[: len(part) // 4 * 4] + _last(part))
            except (binascii.Error, ValueError):
                continue
            if any(needle in decoded for needle in needles):
                return REDACTED
        return match[0]

    return _ENCODED.sub(replaced, text)


def _last(part: str) -> str:
    """The last letters of base64, with the marks that make them whole."""
    rest = part[len(part) // 4 * 4 :]
    return f"{rest}{'=' * (4 - len(rest))}" if len(rest) > 1 else ""
