"""Foreign texts in Markdown: shown as text, never as markup."""

import re

from compat.keepable import one_line

# What begins markup anywhere in a line: escapes, code, emphasis, links and images, cells, strikethrough, e-mail addresses.
_ANYWHERE = re.compile(r"[\\`*\[\]|~@]")
# An underscore within a word is no markup, and ids are full of them; elsewhere it is emphasis.
_UNDERSCORES = re.compile(r"(?<![A-Za-z0-9_])_+|_+(?![A-Za-z0-9_])")
# A URL becomes a link by itself: the colon behind a scheme, and the point behind www. A time has colons too, and no scheme.
_SCHEME = re.compile(r"(?<=[A-Za-z]):(?=\S)")
_WWW = re.compile(r"(?i)\bwww\.")
# What makes a heading, a list or a rule of a text that begins a line.
_AT_START = re.compile(r"^(?:[#+=-]|\d+(?=[.)](?: |$)))")


def escaped(text: str) -> str:
    """Return a text that Markdown and HTML show as it is: one line, whatever it holds.

    Readable as it stands too, since terminals show it without rendering it.
    """
    # What steers a terminal has no place on a page either.
    line = one_line(" ".join(text.split()))
    line = _ANYWHERE.sub(r"\\\g<0>", line)
    line = _UNDERSCORES.sub(lambda found: r"\_" * len(found[0]), line)
    line = _SCHEME.sub(r"\:", line)
    line = _WWW.sub(lambda found: found[0][:-1] + r"\.", line)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _AT_START.sub(lambda found: f"{found[0]}\\" if found[0][0].isdigit() else f"\\{found[0]}", line)
