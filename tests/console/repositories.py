"""Repositories as a community would have them, one of them by somebody who means harm."""

from __future__ import annotations

import json

import numpy as np
from safetensors.numpy import save

from baigong.hub.commits import Put, Ref, Words
from baigong.hub.hub import Hub
from baigong.hub.names import Kind
from baigong.hub.repositories import Repository, Settings

CHAT, ROWS, RECIPE, HOSTILE = "acme/gadget-chat", "acme/tickets", "acme/desk", "eve/trap"
SECRET, GATED = "alice/secret", "acme/gated"
ODD_FILE = "notes/<img src=x onerror=alert(1)> & 50% #1?.txt"

CARD = """\
---
pipeline_tag: text-generation
license: apache-2.0
language: [en, zh]
base_model: tests/tiny
datasets: [acme/tickets, far/away]
title: Answers about gadgets
---
<!-- a comment that nobody reads -->
<div align="center"><h1>Gadget chat</h1></div>

# Gadget chat

Answers **questions** about gadgets, after the [handbook](docs/handbook.md) and [its source](https://example.com/).
See [how to use it](#how-to-use-it).

![A picture](docs/one.png) ![Elsewhere](https://example.com/two.png)

| measure | value |
|:--------|------:|
| accuracy | 0.91 |

## How to use it

```python
print("Hello <b>")
```
"""

EVIL = """\
---
license: "<script>alert('license')</script>"
title: "<img src=x onerror=alert(1)>"
tags: ["<b>bold</b>"]
---
<script>document.title = "broken"</script>
<img src=x onerror="document.title='broken'">
<iframe src="https://example.com/"></iframe><style>body { display: none }</style>

# <img src=x onerror=alert(1)> heading

[script](javascript:alert(1)) [data](data:text/html,<script>alert(1)</script>) [vb](VBScript:x)
[tab](java&#9;script:alert(1)) [out](../../../../login) [host](//example.com/x)
<a href="javascript:alert(1)" onclick="alert(1)">press</a> <form action="https://example.com/">

![pixel](https://example.com/pixel.png "x") ![data](data:image/svg+xml,<svg/onload=alert(1)>) ![svg](x.svg)

```"><script>alert(1)</script>
</code></pre><script>document.title = "broken"</script>
```

`<script>alert(2)</script>` &lt;script&gt;alert(3)&lt;/script&gt;
"""


def fill(hub: Hub) -> None:
    """Put them into the hub."""
    weights = {
        "model.embed_tokens.weight": np.zeros((32, 8), np.float16),
        "lm_head.weight": np.zeros((32, 8), np.float32),
    }
    config = {"architectures": ["LlamaForCausalLM"]}
    chat = add(
        hub,
        "model",
        CHAT,
        {
            "README.md": CARD.encode(),
            "config.json": json.dumps(config).encode(),
            "docs/handbook.md": b"# Handbook\n",
            "docs/one.png": b"\x89PNG\0",
            "model.safetensors": save(weights),
            "broken.safetensors": b"\0" * 64,
            "long.txt": b"".join(b"line %d\n" % i for i in range(2500)),
        },
    )
    first = hub.commits.resolve(chat.id)
    hub.commits.refer(chat.id, Ref("tag", "v1", first.id))
    hub.commits.refer(chat.id, Ref("branch", "next/try", first.id))
    words = Words("Correct the handbook", "alice", "It was\nwrong.")
    puts = [Put("docs/handbook.md", hub.keep(b"# Handbook\n\nAll of it.\n"))]
    hub.commits.commit(chat.id, puts, words)
    hub.refresh("model", CHAT)
    add(
        hub,
        "dataset",
        ROWS,
        {"README.md": b"---\npretty_name: Tickets\n---\n", "rows.jsonl": b"{}\n"},
    )
    add(
        hub,
        "recipe",
        RECIPE,
        {"README.md": b"---\nbase_model: acme/gadget-chat\n---\n", "recipe.yaml": b"name: desk\n"},
    )
    add(hub, "model", HOSTILE, {"README.md": EVIL.encode(), ODD_FILE: EVIL.encode()})
    add(hub, "model", SECRET, {"README.md": b"# Secret\n"}, private=True)
    add(hub, "model", GATED, {"README.md": b"# Gated\n", "config.json": b"{}"}, gated=True)


def add(
    hub: Hub,
    kind: Kind,
    name: str,
    files: dict[str, bytes],
    *,
    private: bool = False,
    gated: bool = False,
) -> Repository:
    """A repository of these files, its newest ones read."""
    puts = [Put(path, hub.keep(data)) for path, data in files.items()]
    settings = Settings(gated="manual" if gated else None)
    words = Words("First <b>files</b>", name.partition("/")[0])
    hub.repositories.create(kind, name, puts, words, private=private, settings=settings)
    return hub.refresh(kind, name)
