"""Secrets never reach a record, a log or the screen: what looks like one is struck out."""

from __future__ import annotations

import re

STRUCK = "***"
#: A key whose value is nobody's business: ``aws_secret_access_key=``, ``X-Amz-Signature=``, ``--password``.
_KEY = (
    r"[\w.-]*(?:secret(?:[_-]?(?:access[_-]?)?key)?|passw(?:or)?d|credentials?|signature|api[_-]?key|access[_-]?key(?:[_-]?id)?|"
    r"(?:auth|session|access|security|refresh|bearer)[_-]?token|(?<![\w.-])token)"
)
_PATTERNS = (
    # what stands before the host: scheme://user:password@host; a path that was made of one has a single slash
    (re.compile(r"(\w[\w+.-]*:/{1,2})[^\s/@'\"]+@"), rf"\1{STRUCK}@"),
    (re.compile(rf"({_KEY}['\"]?\s*[=:]\s*['\"]?)[^\s&'\",;]+", re.IGNORECASE), rf"\1{STRUCK}"),
    (re.compile(r"(\b[A-Z][A-Z0-9_]*_(?:TOKEN|KEY)['\"]?\s*[=:]\s*['\"]?)[^\s&'\",;]+"), rf"\1{STRUCK}"),
    (re.compile(r"(--[\w-]*token[\s=]+)[^\s-]\S*", re.IGNORECASE), rf"\1{STRUCK}"),
    (re.compile(r"(\bBearer\s+|\bAuthorization['\"]?\s*:\s*['\"]?\w+\s+)[\w.~+/=-]{6,}"), rf"\1{STRUCK}"),
    (re.compile(rf"(--{_KEY}\s+)[^\s-]\S*", re.IGNORECASE), rf"\1{STRUCK}"),
    # the shapes of AWS's key ids, of GitHub's and of Hugging Face's tokens
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_\w{20,}|\bhf_\w{20,}"), STRUCK),
)


def redact(text: str) -> str:
    """The text with everything that looks like a credential struck out; what else it says stays."""
    for pattern, put in _PATTERNS:
        text = pattern.sub(put, text)
    return text
