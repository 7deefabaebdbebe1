"""What a page of the documents holds: its code blocks, commands, links and names."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ('python', 'make', 'pip', 'apt-get', 'bash', 'source', 'tensorboard')
_INLINE = re.compile(r'(?<!`)`([^`\n]+)`(?!`)')


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        language: As the fence says; ``bash`` for an indented block.
        text: Its lines.
        where: ``page:line``, for messages.
    """

    language: str
    text: str
    where: str

    @property
    def file(self) -> str | None:
        """Name of the file that a first line such as ``# own.yaml`` gives."""
        named = re.match(r'# ([\w./-]+\.(?:py|yaml))\n', self.text)
        return named[1] if named else None

    def commands(self) -> list[str]:
        """Commands, one a line but for lines that a backslash continues."""
        lines = self.text.replace('\\\n', ' ').splitlines()
        return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith('#')]


def blocks(page: Path) -> list[Block]:
    """All code blocks of a page, in order: fences, and runs of lines indented by four spaces after a blank line."""
    found, lines, number = [], page.read_text().splitlines(), 0
    while number < len(lines):
        start, line = number, lines[number]
        if line.startswith('```'):
            number = lines.index('```', number + 1)
            text = lines[start + 1 : number]
            found.append(Block(line[3:].strip(), '\n'.join(text) + '\n', f'{page.name}:{start + 1}'))
        elif line.startswith('    ') and number and not lines[number - 1].strip():
            while number + 1 < len(lines) and lines[number + 1].startswith('    '):
                number += 1
            text = [line[4:] for line in lines[start : number + 1]]
            found.append(Block('bash', '\n'.join(text) + '\n', f'{page.name}:{start + 1}'))
        number += 1
    return found


def prose(page: Path) -> str:
    """The page without its code blocks."""
    text = re.sub(r'^```.*?^```$', '', page.read_text(), flags=re.M | re.S)
    return re.sub(r'(?<=\n\n)(?: {4}.*\n)+', '', text)


def inline_code(page: Path) -> list[str]:
    """What stands between backticks in the prose."""
    return _INLINE.findall(prose(page))


def inline_commands(page: Path) -> list[str]:
    """Commands between backticks: they begin with a program, or variables and a program, and have an argument."""
    split = [(code, code.split()) for code in inline_code(page)]
    return [code for code, words in split if len(words) > 1 and words[0] in PROGRAMS]


def words(command: str) -> tuple[dict[str, str], list[str]]:
    """Variables set before a command, and its words."""
    parts, variables = shlex.split(command), {}
    while parts and re.fullmatch(r'[A-Z_]+=.*', parts[0]):
        name, _, value = parts.pop(0).partition('=')
        variables[name] = value
    return variables, parts


def links(page: Path) -> list[str]:
    """Targets of links and pictures within the repository."""
    found = re.findall(r'\]\(([^)\s]+)\)', page.read_text())
    return [link for link in found if '://' not in link]


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    heads = re.findall(r'^#+ (.+)$', prose(page), flags=re.M)
    return {re.sub(r'[^\w\- ]', '', head.lower()).replace(' ', '-') for head in heads}
