"""The table of a recipe: figures beside the published ones, as text, Markdown and HTML."""

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from histomm.engine.fileio import write_atomic
from histomm.visualization.panels import write_picture
from histomm.visualization.report import Report

from .commands import Commands
from .figure import CAPTION, alt_text, figure_of
from .pictures import FILE
from .plan import Drawing, Plan
from .recipe import FULL, STATISTICS, Column
from .record import Records

NOT_RUN, BEGUN = 'not run yet', 'begun'
NOT_COMPARABLE = (
    'The budget is {budget!r}, not that of the paper: these figures cannot be compared with the published ones. {note}'
)


def cell_text(values: Sequence[float], planned: int, column: Column) -> str:
    """``mean ± sd (n seeds)``, or another statistic alone, with how many were planned if some are not there yet.

    Args:
        values: One for each seed that is finished, at least one.
        planned: How many there will be.
        column: Statistic, scale and digits.
    """
    digits = column.digits
    text = f'{STATISTICS[column.statistic](values) * column.scale:.{digits}f}'
    if len(values) > 1 and column.statistic == 'mean':
        text += f' ± {statistics.stdev(values) * column.scale:.{digits}f}'
    count = f'n = {len(values)}' if len(values) == planned else f'n = {len(values)} of {planned}'
    return f'{text} ({count})'


def rows(plan: Plan, records: Records) -> tuple[list[str], list[list[str | None]]]:
    """Head and lines of the table: for each column ours and the paper's; None where there is no figure to be had."""
    recipe = plan.recipe
    columns = {name: recipe.columns[name] for name in plan.columns()}
    head = ['', *(text for name in columns for text in (name, 'paper'))]
    lines = []
    for row in plan.rows():
        line: list[str | None] = [row]
        for name, column in columns.items():
            published = recipe.rows[row].published.get(name)
            printed = None if published is None else f'{published:.{column.digits}f}'
            line += [_ours(plan, records, row, name), printed]
        lines.append(line)
    return head, lines


def _ours(plan: Plan, records: Records, row: str, name: str) -> str:
    column = plan.recipe.columns[name]
    values = records.values(row, name)
    finished = [value for value in values if value is not None]
    if finished:
        return cell_text(finished, len(values), column)
    runs = [plan.runs[folder] for part in column.average or (name,) for folder in plan.cells[row, part]]
    return BEGUN if any(records.read(run) and not records.changes(run) for run in runs) else NOT_RUN


def facts(plan: Plan, records: Records) -> dict[str, str]:
    """What one has to know beside the figures."""
    recipe, done = plan.recipe, [records.read(run) for run in plan.runs.values() if records.finished(run)]

    def all_of(name: str) -> str:
        return '; '.join(dict.fromkeys(record[name] for record in done)) or 'nothing has run yet'

    hours = sum(record['seconds'] for record in done) / 3600
    return {
        'Published figures': f'{recipe.paper}, {recipe.table}',
        'Recipe': recipe.path.name,
        'Budget': recipe.budget if recipe.budget == FULL else f'{recipe.budget}: {recipe.budget_note}',
        'Seeds': ', '.join(map(str, range(plan.seeds))),
        'Stages': f'{len(done)} of {len(plan.runs)} finished, {hours:.1f} hours of work',
        'Commit': all_of('commit'),
        'Hardware': all_of('machine'),
        'Software': all_of('versions'),
    }


def warning(plan: Plan) -> str:
    """A sentence for budgets other than the paper's; empty for the paper's."""
    recipe = plan.recipe
    if recipe.budget == FULL:
        return ''
    return NOT_COMPARABLE.format(budget=recipe.budget, note=recipe.budget_note).strip()


def how_to_read(plan: Plan) -> str:
    """What stands in the cells."""
    return (
        'Ours: mean ± standard deviation over seeds, or what the heading says. Paper: '
        f'{plan.recipe.table}, as printed; a dash where nothing was printed.'
    )


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str | None]]) -> str:
    """The table in Markdown."""
    ruler = ['---', *['--:'] * (len(head) - 1)]
    text = [[' ' if cell == '' else '–' if cell is None else cell for cell in line] for line in (head, ruler, *lines)]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in text)


def drawn(plan: Plan, records: Records) -> dict[str, list[tuple[Drawing, Path]]]:
    """The pictures beside the table and where they lie, by heading, as far as they are drawn."""
    found: dict[str, list[tuple[Drawing, Path]]] = {}
    for drawing in plan.drawings:
        run = plan.runs[drawing.folder]
        if records.usable(run):
            found.setdefault(drawing.heading, []).append((drawing, records.folder(run) / FILE))
    return found


def markdown(plan: Plan, records: Records, folder: Path) -> str:
    """The report in Markdown.

    Args:
        plan: The plan.
        records: What is finished.
        folder: Where it goes, from where its pictures are linked.
    """
    recipe = plan.recipe
    parts = [f'# {recipe.title}', warning(plan), markdown_table(*rows(plan, records)), how_to_read(plan)]
    parts += [*recipe.notes, '\n'.join(f'- {name}: {value}' for name, value in facts(plan, records).items())]
    for heading, pictures in drawn(plan, records).items():
        parts += [f'## {heading}', pictures[0][0].caption]
        parts += [f'![{drawing.title()}]({os.path.relpath(path, folder)})' for drawing, path in pictures]
    return '\n\n'.join(part for part in parts if part) + '\n'


def page(plan: Plan, records: Records, commands: Commands, picture: Figure | None) -> Report:
    """The report as a page, with its picture if there is one, and every command."""
    report = Report(plan.recipe.title, warning(plan))
    report.add_table(*rows(plan, records), how_to_read(plan))
    if picture:
        report.add_figure(picture, alt_text(plan), CAPTION)
    report.add_text('\n\n'.join(plan.recipe.notes)).add_facts(facts(plan, records))
    for heading, pictures in drawn(plan, records).items():
        report.add_section(heading).add_text(pictures[0][0].caption)
        for drawing, path in pictures:
            report.add_figure(path, f'{drawing.title()}. {drawing.caption}', drawing.row)
    report.add_section('Stages')
    report.add_table(['Stage', 'State'], [[run.folder, records.state(run)] for run in plan.runs.values()])
    report.add_section('Commands').add_text('In the folder of the repository:')
    return report.add_commands(commands.of(run).text() for run in plan.runs.values())


def write_report(plan: Plan, records: Records, commands: Commands, folder: Path) -> None:
    """Write ``report.md``, ``report.html`` and, if the recipe has a figure, ``figure.png``, as things stand."""
    write_atomic(markdown(plan, records, folder).encode(), folder / 'report.md')
    picture = figure_of(plan, records)
    if picture:
        write_picture(picture, folder / 'figure.png')
    page(plan, records, commands, picture).write(folder / 'report.html')
