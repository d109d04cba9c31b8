"""Labels inside HTML, with places where a narrow column may break them."""

from __future__ import annotations

import re

from markupsafe import Markup

from sparring.leaderboard import wording


def wrappable(text: str) -> Markup:
    """Text with labels in it, escaped; a number stays with its percent sign."""
    shown = str(Markup.escape(wording.printable(text))).replace(" %", "&nbsp;%")
    return Markup(re.sub(r"([_,\[])(?=\w)", r"\1<wbr>", shown))


def breakable(params: tuple[str, ...]) -> Markup:
    """A selector's parameters, escaped."""
    return Markup(re.sub("_", "_<wbr>", str(Markup.escape(wording.printable(", ".join(params))))))
