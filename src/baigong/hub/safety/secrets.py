"""Keys and tokens in text. What is found is told by its kind, its line and its first characters."""

from __future__ import annotations

import re

from baigong.hub.safety.findings import Finding

_MOST = 20
_SHOWN = 6
_KINDS = {
    "a private key": rb"-----BEGIN (?:[A-Z]{2,10} )?PRIVATE KEY(?: BLOCK)?-----",
    "an access key of AWS": rb"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b",
    "a token of Hugging Face": rb"\b(?:hf_|api_org_)[A-Za-z0-9]{34,64}\b",
    "a token of GitHub": rb"\b(?:gh[oprsu]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b",
    "a token of Slack": rb"\bxox[abeoprs]-[A-Za-z0-9-]{10,250}",
    "a key of OpenAI or Anthropic": rb"\bsk-(?:proj-|svcacct-|admin-|ant-)?[A-Za-z0-9_-]{32,250}",
    "a key of Google": rb"\bAIza[A-Za-z0-9_-]{35}\b",
    "a key of this platform": rb"\bbg-[0-9a-f]{12}-[A-Za-z0-9_-]{43}",
}
_PATTERN = re.compile(b"|".join(b"(%s)" % pattern for pattern in _KINDS.values()))


def look(text: bytes) -> list[Finding]:
    """The secrets in a text."""
    found = []
    line = last = 0
    for match in _PATTERN.finditer(text):
        line += text.count(b"\n", last, match.start())
        last = match.start()
        kind = list(_KINDS)[(match.lastindex or 1) - 1]
        start = "" if match.lastindex == 1 else f", {match[0][:_SHOWN].decode('ascii')}..."
        found.append(Finding("secret", f"holds {kind}{start}. Revoke it if it is real.", line + 1))
        if len(found) >= _MOST:
            break
    return found
