"""A report in one HTML file: text, tables and pictures, with nothing fetched from elsewhere."""

import base64
import html
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

Picture = np.ndarray | Figure | str | os.PathLike
"""RGB uint8 (H, W, 3), a matplotlib figure, or a PNG, JPEG or SVG file."""

_MIME = {'.png': 'image/png', '.jpg': 'image/jpeg', '.jpeg': 'image/jpeg', '.svg': 'image/svg+xml'}

_STYLE = """
:root { color-scheme: light; --ink: #1d2327; --soft: #59636b; --line: #d9dee2; --tint: #f4f6f7; --accent: #00608f; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: clamp(1.6rem, 1.2rem + 1.8vw, 2.3rem); line-height: 1.2; margin: 0 0 .6rem; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 3rem 0 .6rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
p { max-width: 44rem; margin: .6rem 0; }
p.lead { font-size: 1.1rem; color: var(--soft); }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: .9rem; padding-bottom: .4rem; }
th, td { text-align: left; padding: .35rem 1.4rem .35rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { border-bottom: 2px solid var(--ink); font-weight: 600; }
td.number, th.number { text-align: right; }
tbody th { font-weight: 500; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: 1.2rem 0; font-size: .95rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.gallery { display: grid; gap: 1rem; margin: 1rem 0; }
figure { margin: 1rem 0; min-width: 0; }
.gallery figure { margin: 0; }
img { display: block; max-width: 100%; height: auto; }
.gallery img { width: 100%; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .35rem; max-width: 44rem; }
pre { background: var(--tint); padding: .9rem 1rem; margin: 1rem 0; font-size: .82rem; line-height: 1.5;
  white-space: pre-wrap; overflow-wrap: anywhere;
  font-family: ui-monospace, "SFMono-Regular", "DejaVu Sans Mono", Menlo, Consolas, monospace; }
@media (max-width: 36rem) { main { padding: 1.5rem 1rem 3rem; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; } th, td { padding-right: .9rem; } }
@media print { main { max-width: none; } figure, tr { break-inside: avoid; } }
"""


def data_uri(picture: Picture, quality: int | None = None) -> str:
    """A picture as a ``data:`` address.

    Figures become SVG with their letters as outlines, so that they are sharp at any size and need no font.

    Args:
        picture: See :data:`Picture`.
        quality: Encode an array as JPEG of this quality (1 to 95) instead of PNG, for photographs.

    Raises:
        ValueError: an array that is no RGB uint8 image, or a file that is not PNG, JPEG or SVG.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f'picture is {picture.dtype} {picture.shape}, expected uint8 (H, W, 3) in RGB')
        buffer, kind = io.BytesIO(), 'png' if quality is None else 'jpeg'
        Image.fromarray(picture).save(buffer, kind, **({} if quality is None else dict(quality=quality)))
        mime, content = f'image/{kind}', buffer.getvalue()
    elif isinstance(picture, Figure):
        mime, content = 'image/svg+xml', _svg(picture)
    else:
        path = Path(picture)
        if path.suffix.lower() not in _MIME:
            raise ValueError(f'picture {path} has the suffix {path.suffix!r}, expected one of {", ".join(_MIME)}')
        mime, content = _MIME[path.suffix.lower()], path.read_bytes()
    return f'data:{mime};base64,{base64.b64encode(content).decode("ascii")}'


def _svg(figure: Figure) -> bytes:
    """SVG of a figure, the same bytes whenever the figure is the same."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({'svg.fonttype': 'path', 'svg.hashsalt': 'histomm'}):
        figure.savefig(buffer, format='svg', metadata={'Date': None, 'Creator': None})
    return buffer.getvalue()


@dataclass(frozen=True)
class Item:
    """One picture of a gallery.

    Attributes:
        picture: See :data:`Picture`.
        alt: What it shows, for those who do not see it.
        caption: Text below it.
        quality: See :func:`data_uri`.
    """

    picture: Picture
    alt: str
    caption: str = ''
    quality: int | None = None


class Report:
    """A page that grows part by part; every ``add_*`` returns the report.

    All text is escaped, so names of files and configs may hold any character.

    Args:
        title: Heading and title of the window.
        lead: A sentence or two below it.
    """

    def __init__(self, title: str, lead: str = '') -> None:
        self.title = title
        self._parts = [f'<h1>{html.escape(title)}</h1>']
        if lead:
            self._parts.append(f'<p class="lead">{html.escape(lead)}</p>')

    def _add(self, part: str) -> 'Report':
        self._parts.append(part)
        return self

    def add_section(self, heading: str, level: int = 2) -> 'Report':
        """Begin a section; ``level`` 3 begins a part of one."""
        if level not in (2, 3):
            raise ValueError(f'level is {level}, expected 2 (section) or 3 (part of a section)')
        return self._add(f'<h{level}>{html.escape(heading)}</h{level}>')

    def add_text(self, text: str) -> 'Report':
        """Paragraphs, parted by blank lines."""
        paragraphs = [part.strip() for part in text.split('\n\n') if part.strip()]
        return self._add('\n'.join(f'<p>{html.escape(paragraph)}</p>' for paragraph in paragraphs))

    def add_facts(self, facts: Mapping[str, object]) -> 'Report':
        """Names and values in two columns."""
        rows = (f'<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>' for k, v in facts.items())
        return self._add(f'<dl>{"".join(rows)}</dl>')

    def add_table(self, header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = '') -> 'Report':
        """A table; the first cell of a row names it, numbers stand to the right, ``None`` is a dash.

        Floats are shown with one digit after the point; give text for anything else.

        Raises:
            ValueError: a row is longer or shorter than the header.
        """
        rows = [list(row) for row in rows]
        wrong = next((row for row in rows if len(row) != len(header)), None)
        if wrong is not None:
            raise ValueError(f'the row {wrong} has {len(wrong)} cells, expected {len(header)} as in {list(header)}')
        numeric = [any(isinstance(row[i], int | float) for row in rows) for i in range(len(header))]
        head = ''.join(
            f'<th scope="col"{_class(number)}>{html.escape(str(name))}</th>'
            for name, number in zip(header, numeric, strict=True)
        )
        body = ''.join(_row(row, numeric) for row in rows)
        title = f'<caption>{html.escape(caption)}</caption>' if caption else ''
        table = f'<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        return self._add(f'<div class="scroll">{table}</div>')

    def add_figure(self, picture: Picture, alt: str, caption: str = '', quality: int | None = None) -> 'Report':
        """One picture; arguments as of :class:`Item`."""
        return self._add(_figure(Item(picture, alt, caption, quality)))

    def add_gallery(self, items: Iterable[Item], width: int = 320) -> 'Report':
        """Pictures side by side, as many in a row as fit when each is at least ``width`` pixels wide."""
        style = f'grid-template-columns:repeat(auto-fit,minmax(min({width}px,100%),1fr))'
        figures = '\n'.join(_figure(item) for item in items)
        return self._add(f'<div class="gallery" style="{style}">\n{figures}\n</div>')

    def add_commands(self, commands: Iterable[str]) -> 'Report':
        """Command lines, to be copied."""
        return self._add(f'<pre><code>{html.escape(chr(10).join(commands))}</code></pre>')

    def html(self) -> str:
        """The whole page."""
        body = '\n'.join(self._parts)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<title>{html.escape(self.title)}</title>\n<link rel="icon" href="data:,">\n'
            f'<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n'
        )

    def write(self, path: str | os.PathLike) -> Path:
        """Write the page, whole or not at all, and make its folder if need be."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f'{path.name}.partial')
        partial.write_text(self.html(), encoding='utf-8')
        os.replace(partial, path)
        return path


def _class(number: bool) -> str:
    return ' class="number"' if number else ''


def _row(row: Sequence[object], numeric: Sequence[bool]) -> str:
    cells = [html.escape(_text(value)) for value in row]
    first = f'<th scope="row"{_class(numeric[0])}>{cells[0]}</th>'
    rest = (f'<td{_class(number)}>{cell}</td>' for cell, number in zip(cells[1:], numeric[1:], strict=True))
    return f'<tr>{first}{"".join(rest)}</tr>'


def _text(value: object) -> str:
    if value is None:
        return '–'
    return f'{value:.1f}' if isinstance(value, float) else str(value)


def _figure(item: Item) -> str:
    if not item.alt:
        raise ValueError('alt is empty, expected a sentence that says what the picture shows')
    image = f'<img src="{data_uri(item.picture, item.quality)}" alt="{html.escape(item.alt)}">'
    caption = f'<figcaption>{html.escape(item.caption)}</figcaption>' if item.caption else ''
    return f'<figure>{image}{caption}</figure>'
