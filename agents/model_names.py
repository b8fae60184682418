"""Names of models in folders: what lies in a folder decides between an embedded and a language model."""

from __future__ import annotations

import json
from pathlib import Path

PREFIXES = ("embedded", "hf")


def resolved(name: str, part: str) -> str:
    """Return `embedded:FOLDER` or `hf:FOLDER` for a folder with a model, given plain or with either prefix.

    `part` is the subfolder to prefer if a trainer wrote two models side by side: `policy` or `prm`. A name that is no
    folder with a model comes back as it is.
    """
    prefix, colon, rest = name.partition(":")
    folder = Path(rest if colon and prefix in PREFIXES else name)
    for place in (folder, folder / part):
        if (place / "adapter_config.json").is_file():
            return f"hf:{place}"
        try:
            config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return f"{'embedded' if 'stepgym_game' in config else 'hf'}:{place}"
    return name
