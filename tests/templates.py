"""Chat templates in the manner of well-known model families, with the tokens that they write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

# Hermes' way, as Qwen2.5 and Qwen3 write it: tools in XML in the system turn, calls as tagged JSON,
# thoughts that only the turns after the last question keep, and a switch that leaves them empty.
QWEN = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- '# Functions\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
    {{- '\\n</tools>\\nCall one as <tool_call>\\n{"name": NAME, "arguments": OBJECT}\\n</tool_call>' }}
    {{- '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set asked = namespace(last=0) %}
{%- for message in messages %}{%- if message.role == 'user' %}{%- set asked.last = loop.index0 %}{%- endif %}{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > asked.last and message.reasoning_content %}
            {{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- message.content }}
        {%- for call in message.tool_calls or [] %}
            {%- if (loop.first and message.content) or not loop.first %}{{- '\\n' }}{%- endif %}
            {%- if call.function %}{%- set call = call.function %}{%- endif %}
            {{- '<tool_call>\\n{"name": "' + call.name + '", "arguments": ' }}
            {%- if call.arguments is string %}{{- call.arguments }}
            {%- else %}{{- call.arguments | tojson }}{%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""

LLAMA = """\
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role in ('ipython', 'tool') %}
        {{- '<|start|>ipython<|end|>' }}
        {%- if message.content is mapping %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}
    {%- elif message.tool_calls %}
        {%- if message.tool_calls | length != 1 %}{{- raise_exception('One call in a turn!') }}{%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start|>assistant<|end|>{"name": "' + call.name + '", ' }}
        {{- '"parameters": ' }}{{- call.arguments | tojson }}{{- '}' }}
    {%- else %}
        {{- '<|start|>' + message.role + '<|end|>\\n\\n' + message.content | trim }}
    {%- endif %}
    {{- '<|eot|>' }}
    {%- if loop.first and tools is not none %}
        {%- for tool in tools %}{{- tool | tojson(indent=4) }}{{- '\\n\\n' }}{%- endfor %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant<|end|>\\n\\n' }}{%- endif %}
"""

MISTRAL = """\
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {%- if tools is not none and loop.last %}{{- '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}{%- endif %}
        {{- '[INST] ' + message.content + '[/INST]' }}
    {%- elif message.tool_calls %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in message.tool_calls %}
            {%- set out = call.function | tojson %}
            {{- out[:-1] }}
            {%- if not call.id is defined or call.id | length != 9 %}
                {{- raise_exception('Ids have nine letters and digits!') }}
            {%- endif %}
            {{- ', "id": "' + call.id + '"}' }}
            {%- if not loop.last %}{{- ', ' }}{%- else %}{{- ']' + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message.role == 'tool' %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content | string + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content + eos_token }}
    {%- endif %}
{%- endfor %}
"""

# DeepSeek-R1's way: the prompt itself opens the thoughts, and joins arguments as text.
DEEP = """\
{%- for message in messages %}
    {%- if message.role == 'user' %}{{- '<User>' + message.content }}
    {%- elif message.role == 'assistant' %}
        {{- '<Assistant>' + message.content.split('</think>')[-1] }}
        {%- for call in message.tool_calls or [] %}{{- call.function.name + ':' + call.function.arguments }}{%- endfor %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<Assistant><think>\\n' }}{%- endif %}
"""

PLAIN = """\
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


class Family(NamedTuple):
    """A template, and its marks: which are special tokens, and which plain ones."""

    template: str
    special: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()


FAMILIES = {
    "qwen": Family(QWEN, plain=("<tool_call>", "</tool_call>", "<think>", "</think>")),
    "llama": Family(LLAMA, special=("<|python_tag|>", "<|start|>", "<|end|>", "<|eot|>")),
    "mistral": Family(MISTRAL, special=("[TOOL_CALLS]", "[INST]", "[/INST]")),
    "deep": Family(DEEP, plain=("<think>", "</think>")),
    "plain": Family(PLAIN),
}


def teach(folder: Path, family: str) -> Path:
    """Give a model folder the template and the tokens of a family."""
    found = FAMILIES[family]
    (folder / "chat_template.jinja").write_text(found.template, "utf-8")
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    added = tokenizer["added_tokens"]
    form, first = added[-1], added[-1]["id"] + 1
    for id, mark in enumerate((*found.special, *found.plain), first):
        is_special = mark in found.special
        added.append({**form, "id": id, "content": mark, "special": is_special})
    path.write_text(json.dumps(tokenizer), "utf-8")
    return folder
