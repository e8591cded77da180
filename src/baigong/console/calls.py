"""How to call a model, in the words of three clients."""

from __future__ import annotations

import json
from dataclasses import dataclass

_PYTHON = """\
from openai import OpenAI

client = OpenAI(base_url={url}, api_key="YOUR_KEY")
stream = client.chat.completions.create(
    model={model},
    messages=[{{"role": "user", "content": {question}}}],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)"""

_JAVASCRIPT = """\
import OpenAI from "openai";

const client = new OpenAI({{ baseURL: {url}, apiKey: "YOUR_KEY" }});
const stream = await client.chat.completions.create({{
  model: {model},
  messages: [{{ role: "user", content: {question} }}],
  stream: true,
}});
for await (const chunk of stream) {{
  process.stdout.write(chunk.choices[0].delta.content ?? "");
}}"""

_CURL = """\
curl {url} \\
  -H 'Authorization: Bearer YOUR_KEY' \\
  -H 'Content-Type: application/json' \\
  -d {body}"""


@dataclass(frozen=True, slots=True)
class Call:
    """A client's name and a program that runs as it stands."""

    name: str
    text: str


def calls_of(base_url: str, model: str, question: str) -> list[Call]:
    """The same question, asked by each client."""
    question = question or "Hello"
    messages = [{"role": "user", "content": question}]
    body = json.dumps({"model": model, "messages": messages}, ensure_ascii=False)
    holds = {
        "url": _quoted(f"{base_url}/v1"),
        "model": _quoted(model),
        "question": _quoted(question),
    }
    return [
        Call("Python", _PYTHON.format(**holds)),
        Call("JavaScript", _JAVASCRIPT.format(**holds)),
        Call("curl", _CURL.format(url=f"{base_url}/v1/chat/completions", body=_shell(body))),
    ]


def _quoted(text: str) -> str:
    """A string literal of Python and of JavaScript alike."""
    return json.dumps(text, ensure_ascii=False)


def _shell(text: str) -> str:
    """A string in single quotes, which a shell leaves as it is."""
    return "'" + text.replace("'", "'\\''") + "'"
