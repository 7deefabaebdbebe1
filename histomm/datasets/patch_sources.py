"""Finding patches: in a folder tree, a list file or a CSV. Each gives (path, label or None) in a fixed order."""

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

Item = tuple[str, str | None]


def extension(path: str) -> str:
    """Extension of a path in lower case, without the dot."""
    return os.path.splitext(path)[1][1:].lower()


def walk_files(root: str) -> Iterator[str]:
    """Paths of all files below ``root``, relative to it with forward slashes; links are followed, hidden files not."""
    return _walk(root, '', set())


def _walk(folder: str, prefix: str, seen: set[str]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith('.'):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, f'{prefix}{entry.name}/', seen)
            else:
                yield prefix + entry.name


def scan_folder(root: str, extensions: Sequence[str]) -> list[str]:
    """Images below ``root``, as sorted paths relative to it with forward slashes.

    Args:
        root: Folder.
        extensions: Lower-case extensions that count as images.

    Raises:
        FileNotFoundError: ``root`` is not a folder.
        ValueError: no file has one of the extensions.
    """
    if not os.path.isdir(root):
        raise FileNotFoundError(
            f'PatchDataset: data_root {root} is not a folder; correct the path or put the data there'
        )
    others: dict[str, int] = {}
    found = []
    for path in walk_files(root):
        kind = extension(path)
        if kind in extensions:
            found.append(path)
        else:
            others[kind] = others.get(kind, 0) + 1
    if not found:
        counts = ', '.join(f'{count} .{kind}' for kind, count in sorted(others.items())) or 'no files at all'
        raise ValueError(
            f'PatchDataset: no images below {root}, expected files of {", ".join(extensions)}, found {counts}; '
            'correct data_root'
        )
    return sorted(found)


def folder_label(root: str, path: str) -> str:
    """Class of an image in a folder tree: the first folder below the root.

    Raises:
        ValueError: the image lies in the root itself.
    """
    label, slash, _ = path.partition('/')
    if not slash:
        raise ValueError(
            f'PatchDataset: {root}/{path} lies in no class folder, expected {root}/CLASS/...; '
            'move it there or set with_labels=False'
        )
    return label


def read_list(list_file: str, extensions: Sequence[str]) -> list[Item]:
    """Lines of a list file: a path, or a path, white space and a label. Blank lines are skipped.

    Paths may hold spaces: the last word is a label only if the line does not end in a known extension but does so
    without that word.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line names a file of an unknown extension, or the file has no lines.
    """
    items: list[Item] = []
    for number, line in enumerate(_text(list_file).splitlines(), start=1):
        line = line.strip()
        if not line:
            continue
        path, label = line, None
        if extension(line) not in extensions:
            path, _, label = line.replace('\t', ' ').rpartition(' ')
            path = path.strip()
        items.append((_checked(path or line, f'{list_file}:{number}', extensions), label))
    return _not_empty(items, list_file)


def read_csv(list_file: str, extensions: Sequence[str], path_column: str, label_column: str) -> list[Item]:
    """Rows of a CSV with a header; the label column may be missing, and so may a label.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no column ``path_column``, a file of an unknown extension, or no rows.
    """
    reader = csv.DictReader(_text(list_file).splitlines())
    if path_column not in (reader.fieldnames or ()):
        raise ValueError(
            f'PatchDataset: {list_file} has the columns {reader.fieldnames}, expected one named {path_column!r}; '
            'correct path_column'
        )
    items = [
        (_checked(row[path_column] or '', f'{list_file}:{reader.line_num}', extensions), row.get(label_column) or None)
        for row in reader
    ]
    return _not_empty(items, list_file)


def _text(list_file: str) -> str:
    if not os.path.isfile(list_file):
        raise FileNotFoundError(f'PatchDataset: list_file {list_file} does not exist; correct the path')
    return Path(list_file).read_text(encoding='utf-8-sig')


def _checked(path: str, where: str, extensions: Sequence[str]) -> str:
    if extension(path) not in extensions:
        raise ValueError(
            f'PatchDataset: {where} names {path!r}, expected a file of {", ".join(extensions)}; correct or remove it'
        )
    return path


def _not_empty(items: list[Item], list_file: str) -> list[Item]:
    if not items:
        raise ValueError(f'PatchDataset: {list_file} names no images, expected one a line; fill it')
    return items
