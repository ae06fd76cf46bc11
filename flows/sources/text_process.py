"""The process that reads documents' files: started by its path, imports nothing of ours, forks for each file.

A line on stdin is ``[path, ending]``, the line it prints ``{text, reader, leftOut}`` or ``{error}``.
"""

import email
import email.policy
import json
import os
import posixpath
import re
import resource
import signal
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.message import EmailMessage
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote

# Limits for one file: of time, of memory, of the text that it gives.
SECONDS = 60
MEMORY = 2 * 2**30
LARGEST = 2**28
# Limits for what is packed in a DOCX or EPUB: all of it, its XML, and how many times smaller it may be packed.
# 36 MB of XML from a file of 90 kB kept python-docx busy for 50 s.
UNPACKED = 2**28
XML = 20 * 2**20
RATIO = 100
INSTALL = "pip install 'knowledge-batch[files]'"
LIGATURES = str.maketrans({"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl", "\xad": None})


class UnreadableError(Exception):
    """Why a file can't be read, in words."""


# --- Readers: a path gives the text and the names of what was left out ----------------------------------------------------


def read_pdf(path: Path) -> tuple[str, list[str]]:
    """Return the text of all pages."""
    from pypdf import PdfReader

    reader = PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise UnreadableError("is encrypted; save it without a password")
    lines = [line for page in reader.pages for line in page.extract_text().splitlines()]
    return joined_lines(lines), []


def read_docx(path: Path) -> tuple[str, list[str]]:
    """Return the paragraphs and tables in their order."""
    check_archive(path)
    import docx

    return "\n\n".join(_docx_blocks(docx.Document(str(path)))), []


def _docx_blocks(container: Any) -> Iterator[str]:
    """Yield the paragraphs and tables of a document or cell in their order; a table's row is a line."""
    for item in container.iter_inner_content():
        if hasattr(item, "rows"):
            rows = []
            for row in item.rows:
                # A merged cell is given once for each column that it spans.
                cells = {id(cell._tc): cell for cell in row.cells}  # noqa: SLF001 -- there is no other identity
                rows.append("\t".join(" ".join(_docx_blocks(cell)) for cell in cells.values()))
            yield "\n".join(rows)
        elif item.text.strip():
            yield item.text


def read_html(path: Path) -> tuple[str, list[str]]:
    """Return what a web page says."""
    return html_text(path.read_bytes()), []


def html_text(content: bytes | str) -> str:
    """Return the text of a page without menus and footers; of one that is nothing else, all of it."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    html = content
    if isinstance(html, bytes):
        html = bytes_to_str(html, declared_encoding(html) or detect_encoding(html) or "utf-8")
    text: str = extract_plain_text(html, main_content=True, alt_texts=False)
    return text if text.strip() else str(extract_plain_text(html, alt_texts=False))


def declared_encoding(content: bytes) -> str | None:
    """Return the encoding that a page declares in its first bytes, if Python knows it."""
    if content.startswith(b"\xef\xbb\xbf"):
        return "utf-8"
    found = re.search(rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w-]+)""", content[:2048])
    name = found[1].decode() if found else "utf-8"
    with suppress(LookupError, UnicodeDecodeError):
        content.decode(name)
        return name
    return None


def read_eml(path: Path) -> tuple[str, list[str]]:
    """Return an e-mail's subject and body, and the names of its attachments."""
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    if not isinstance(message, EmailMessage) or not message.keys():
        raise UnreadableError("isn't an e-mail: it has no headers")
    body = message.get_body(("plain", "html"))
    text = ""
    if body is not None:
        content = body.get_content()
        text = html_text(content) if body.get_content_subtype() == "html" else joined_lines(content.splitlines())
    attachments = [part.get_filename() or part.get_content_type() for part in message.iter_attachments()]
    return "\n\n".join(part for part in (str(message["subject"] or ""), text) if part), attachments


def read_epub(path: Path) -> tuple[str, list[str]]:
    """Return a book's pages in the order of its spine."""
    check_archive(path)
    from xml.etree import ElementTree

    with zipfile.ZipFile(path) as archive:
        container = ElementTree.fromstring(archive.read("META-INF/container.xml"))  # noqa: S314 -- time and memory are limited
        package = next(each.attrib["full-path"] for each in container.iter() if each.tag.endswith("}rootfile"))
        book = ElementTree.fromstring(archive.read(package))  # noqa: S314 -- as above
        items = {each.attrib["id"]: each.attrib["href"] for each in book.iter() if each.tag.endswith("}item")}
        spine = [items[each.attrib["idref"]] for each in book.iter() if each.tag.endswith("}itemref")]
        names = [posixpath.normpath(posixpath.join(posixpath.dirname(package), unquote(href))) for href in spine]
        with suppress(KeyError):
            encrypted = archive.read("META-INF/encryption.xml").decode(errors="replace")
            if any(name in encrypted for name in names):
                raise UnreadableError("is protected against copying")
        return "\n\n".join(html_text(archive.read(name)) for name in names), []


# Ending: reader, the module that is needed first, and what it is called in a package index; none is the standard library's.
READERS: dict[str, tuple[Callable[[Path], tuple[str, list[str]]], str, str]] = {
    ".html": (read_html, "resiliparse.extract.html2text", "resiliparse"),
    ".htm": (read_html, "resiliparse.extract.html2text", "resiliparse"),
    ".xhtml": (read_html, "resiliparse.extract.html2text", "resiliparse"),
    ".pdf": (read_pdf, "pypdf", "pypdf"),
    ".docx": (read_docx, "docx", "python-docx"),
    ".eml": (read_eml, "", ""),
    ".epub": (read_epub, "resiliparse.extract.html2text", "resiliparse"),
}


def check_archive(path: Path) -> None:
    """Raise UnreadableError for an archive that would unpack to too much. What it says of itself holds: no more is unpacked."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    total = sum(member.file_size for member in members)
    xml = sum(member.file_size for member in members if not member.filename.lower().endswith((".jpeg", ".jpg", ".png", ".gif")))
    packed = max(1, sum(member.compress_size for member in members))
    if total > UNPACKED or xml > XML or (total > 2**20 and total / packed > RATIO):
        raise UnreadableError(f"unpacks to {total / 2**20:.0f} MiB, {total / packed:.0f} times its size; split it")


def joined_lines(lines: list[str]) -> str:
    """Return lines as paragraphs: a line that is cut at the page's width goes on in the next one, else sentences would break.

    A paragraph ends at an empty line, and after a line much shorter than most.
    """
    lines = [line.strip() for line in lines]
    lengths = sorted(len(line) for line in lines if line)
    width = lengths[int(len(lengths) * 0.9)] if lengths else 0
    paragraphs: list[str] = []
    goes_on = False
    for line in lines:
        if not line:
            goes_on = False
            continue
        if not goes_on:
            paragraphs.append(line)
        elif re.search(r"[^\W\d]-$", paragraphs[-1]) and line[0].islower():
            paragraphs[-1] = paragraphs[-1][:-1] + line
        else:
            paragraphs[-1] += " " + line
        goes_on = len(line) >= 0.6 * width
    return "\n\n".join(paragraphs)


# --- The process ----------------------------------------------------------------------------------------------------------


def main(seconds: int, memory: int) -> None:
    """Answer each line of stdin."""
    for line in sys.stdin:
        path, suffix = json.loads(line)
        print(json.dumps(answer(path, suffix, seconds, memory)), flush=True)  # noqa: T201 -- its answer


def answer(path: str, suffix: str, seconds: int, memory: int) -> dict[str, Any]:
    """Read a file in a fork of this process."""
    reader, module, package = READERS[suffix]
    try:
        if module:
            # Once here, rather than in every fork.
            __import__(module)
        by = f"{package} {version(package)}" if package else f"Python {sys.version_info.major}.{sys.version_info.minor}"
    except ImportError as error:
        return {"error": f"needs the package {error.name or package}: {INSTALL}"}
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "wb") as out:
            out.write(json.dumps({**_limited(reader, Path(path), seconds, memory), "reader": by}).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGALRM, signal.SIGXCPU):
            return {"error": f"took longer than {seconds} s to read"}
        return {"error": f"ended its reader with {signal.Signals(number).name}"}
    found: dict[str, Any] = json.loads(said)
    return found


def _limited(reader: Callable[[Path], tuple[str, list[str]]], path: Path, seconds: int, memory: int) -> dict[str, Any]:
    # Libraries print warnings, and stdout is for answers.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # Ends the process, whatever it is in: no handler is set.
    signal.alarm(seconds)
    try:
        text, left_out = reader(path)
        if len(text) > LARGEST:
            return {"error": f"holds more than {LARGEST // 2**20} million characters; split it"}
        # Neither NUL nor half a surrogate pair can be kept.
        text = text.translate(LIGATURES).replace("\0", "").encode("utf-8", "replace").decode()
        return {"text": text, "leftOut": left_out}
    except UnreadableError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": f"needs more than {memory // 2**20} MiB of memory to read"}
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        return {"error": f"can't be read ({type(error).__name__}{f': {reason}' if reason else ''})"}


if __name__ == "__main__":
    # Ctrl-C is the caller's to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(int(sys.argv[1]), int(sys.argv[2]))
