"""Text inside Markdown: nothing that a record says can leave its place."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from sparring.leaderboard.wording import printable


def escaped(text: str) -> str:
    """`text` as itself: neither HTML, nor Markdown, nor a table's border."""
    flat = printable(" ".join(text.split()))
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(flat, quote=False))


def code(text: str) -> str:
    """`text` as a code span that stays within its table cell."""
    flat = printable(" ".join(text.split())).replace("`", "ˋ").replace("|", "\\|")
    return f"`{flat}`" if flat else ""


def row_of(texts: Iterable[str]) -> str:
    """A table's row of texts that are Markdown already."""
    return "| " + " | ".join(texts) + " |"
