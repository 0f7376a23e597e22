"""A self-contained HTML page: text, tables and pictures, nothing from the net."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; background: white; border-radius: 4px; }
figcaption { font-size: 0.9rem; opacity: 0.85; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; }
th, td { padding: 0.2rem 0.6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr:nth-child(even) { background: color-mix(in srgb, currentColor 7%, transparent); }
pre { overflow-x: auto; padding: 0.7rem; }
"""


class Page:
    """A page that grows from top to bottom; every string is escaped.

    Args:
        title: of the page.
    """

    def __init__(self, title: str) -> None:
        self._title = html.escape(title)
        self._parts = [f"<h1>{self._title}</h1>"]

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def bullets(self, texts: Iterable[str]) -> None:
        """Add a list."""
        items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
        self._parts.append(f"<ul>{items}</ul>")

    def code(self, text: str) -> None:
        """Add preformatted text."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a table."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        self._parts.append(
            f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
            "</div>"
        )

    def picture(self, content: bytes, caption: str, *, kind: str = "png") -> None:
        """Add a picture, embedded, with the caption that says how to read it."""
        data = base64.b64encode(content).decode()
        text = html.escape(caption)
        self._parts.append(
            f'<figure><img alt="{text}" src="data:image/{kind};base64,{data}">'
            f"<figcaption>{text}</figcaption></figure>"
        )

    def render(self) -> bytes:
        """The page as bytes of UTF-8."""
        body = "\n".join(self._parts)
        head = f'<meta charset="utf-8"><title>{self._title}</title><style>{_STYLE}</style>'
        page = f"<html lang=en><head>{head}</head>\n<body>{body}</body></html>\n"
        return f"<!doctype html>\n{page}".encode()
