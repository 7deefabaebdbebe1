"""Pre-training, transfer and evaluation for each cell of a paper's table, with the published figure beside ours.

    python tools/reproduce.py plm-table2 --smoke
    python tools/reproduce.py plm-table2 --data-root data --launcher pytorch --gpus 4

NAME is a recipe in configs/reproduce, or a YAML file. Stages that are finished are skipped, also those that another
recipe ran; an interrupted training goes on from its last checkpoint; a changed command, config or data set runs anew
with what depends on it. See docs/reproduce.md.
"""

import argparse
import sys
from pathlib import Path

from histomm.engine.reproduce import (
    Commands,
    Launch,
    RecipeError,
    Records,
    StageFailed,
    check_data,
    check_plan,
    make_plan,
    read_recipe,
    run_plan,
    script,
    with_pictures,
    write_report,
)
from histomm.engine.reproduce.commands import LAUNCHERS
from histomm.engine.reproduce.recipe import FULL
from histomm.engine.reproduce.table import markdown

REPO = Path(__file__).resolve().parents[1]
RECIPES = REPO / 'configs' / 'reproduce'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', help=f'recipe: a YAML file, or one of {", ".join(known())}')
    parser.add_argument('--data-root', type=Path, default=Path('data'), help='folder of the data sets (default: data)')
    parser.add_argument(
        '--set', nargs='+', default=[], type=named, metavar='NAME=VALUE', help='names of the recipe, e.g. glas-data=DIR'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/reproduce'), help='default: %(default)s')
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        '--budget', default=FULL, help='full (default) is what the paper has; see the recipe for others'
    )
    budget.add_argument(
        '--smoke', dest='budget', action='store_const', const='smoke', help='--budget smoke: minutes, drawn data'
    )
    parser.add_argument('--seeds', type=positive, help="number of seeds (default: the recipe's)")
    parser.add_argument('--rows', nargs='+', default=['*'], metavar='PATTERN', help="rows to run, e.g. 'MoCo*'")
    parser.add_argument('--columns', nargs='+', default=['*'], metavar='PATTERN', help="columns to run, e.g. 'GlaS*'")
    parser.add_argument('--no-pictures', action='store_true', help='leave out the pictures beside the table')
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='for trainings and tests')
    parser.add_argument('--gpus', type=positive, default=1, help='processes of a training; they share its batch')
    parser.add_argument('--partition', default='', help='of Slurm')
    parser.add_argument('--jobs', type=positive, default=1, help='stages side by side (default: 1)')
    parser.add_argument('--keep-going', action='store_true', help='after a failure, go on with what does not need it')
    parser.add_argument('--dry-run', action='store_true', help='print the plan and the commands, and run nothing')
    return parser.parse_args(argv)


def known() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in RECIPES.glob('*.yaml'))


def named(text: str) -> tuple[str, str]:
    """``NAME=VALUE`` to its parts."""
    name, sign, value = text.partition('=')
    if not (name and sign and value):
        raise argparse.ArgumentTypeError(f'{text!r} is no NAME=VALUE, for example glas-data=/data/Warwick_QU_Dataset')
    return name, value


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is no whole number above 0')
    return int(text)


def recipe_path(name: str) -> Path:
    """The file that a name stands for."""
    path = Path(name)
    if path.suffix in ('.yaml', '.yml'):
        return path
    if name not in known():
        raise RecipeError(f'recipe {name}: no such recipe, expected a YAML file or one of {", ".join(known())}')
    return RECIPES / f'{name}.yaml'


def launch_of(args: argparse.Namespace) -> Launch:
    """How stages are started, if it makes sense."""
    if args.launcher == 'none' and args.gpus > 1:
        raise RecipeError(f'--gpus {args.gpus} needs --launcher pytorch or slurm')
    if (args.launcher == 'slurm') != bool(args.partition):
        raise RecipeError('--launcher slurm and --partition go together')
    if args.launcher == 'pytorch' and args.jobs > 1:
        raise RecipeError('--jobs is for --launcher none and slurm; with pytorch each stage has all GPUs')
    return Launch(args.launcher, args.gpus, args.partition, args.jobs, args.keep_going)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        launch = launch_of(args)
        recipe = read_recipe(recipe_path(args.name), args.budget, dict(args.set))
        plan = make_plan(recipe, args.seeds, tuple(args.rows), tuple(args.columns))
        plan = plan if args.no_pictures else with_pictures(plan)
        root, work = args.data_root.absolute(), args.work_dir.absolute() / recipe.budget
        check_plan(plan, REPO, root, work)
        records = Records(plan, REPO, root, work)
        commands = Commands(REPO, root, work, launch)
        if args.dry_run:
            print(script(plan, records, commands), end='')
            return
        check_data(plan, root)
        folder = work / 'reports' / recipe.path.stem

        def after_stage() -> None:
            write_report(plan, records, commands, folder)
            (folder / 'commands.sh').write_text(script(plan, records, commands))

        run_plan(plan, records, commands, lambda text: print(text, flush=True), after_stage)
        print(f'\n{markdown(plan, records, folder)}\n{folder / "report.html"}')
    except (RecipeError, StageFailed) as error:
        sys.exit(f'reproduce: {error}')


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('reproduce: interrupted; give the command again to go on')
