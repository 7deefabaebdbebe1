"""histomm beside what would be run in its place: lightly, and each method's arithmetic as its paper has it.

Both sides get the same inputs in one process, are compared, and only then timed in turns:

    python tools/benchmarks/peers.py [--parts losses views steps plain] [--repeats 5] [--device cuda]

``losses``: lightly's criteria beside histomm's, forward and backward. ``views``: lightly's transforms beside the
pipelines of the shipped configs. ``steps``: training steps put together from lightly's parts beside ``train_step``.
``plain``: plain forms written from the papers; those of precise matching, of InfoNCE, of patch contrast and of slide
prototypes are in ``matching.py``, ``info_nce.py``, ``patch_contrast.py`` and ``prototypes.py``. What is not alike is
said below each table. Sizes are those that one core can do; those of the papers, on a GPU:

    python tools/benchmarks/peers.py --device cuda --rows 256 --batch 256 --queue 65536 --channels 8192 --step-batch 256

A step of lightly's is its parts put together as its examples do; Lightning, which these are run with, is left out.
Memory is the most that was held at once beside inputs and weights, from the allocator's own record in a run that is not
timed. lightly is installed by ``pip install --no-deps -r requirements/peers.txt``; ``plain`` goes without.
"""

import argparse
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from types import ModuleType

import _plain_forms
from _pairs import compare
from _timing import Spread, add_device_options, add_options, provenance, publish, set_up_device

LIGHTLY = {'losses': '_lightly_losses', 'views': '_lightly_views', 'steps': '_lightly_steps'}
PARTS = (*LIGHTLY, 'plain')


def require_lightly() -> None:
    """Raise SystemExit where lightly is not installed."""
    if importlib.util.find_spec('lightly') is None:
        raise SystemExit(
            f'{", ".join(LIGHTLY)} are timed beside lightly, which is not installed: '
            'pip install --no-deps -r requirements/peers.txt, or choose --parts plain'
        )


def module_of(part: str) -> ModuleType:
    """Where ``part`` is put together; lightly is imported only if it takes part."""
    return importlib.import_module(LIGHTLY[part]) if part in LIGHTLY else _plain_forms


def measure(part: str, args: argparse.Namespace, clock: Callable[[], float]) -> tuple[str, dict[str, Spread]]:
    """Table and results of one part."""
    module = module_of(part)
    if part == 'views':
        text, results = module.compare_views(args, clock)
    else:
        peer = 'lightly' if part in LIGHTLY else 'plain'
        text, results = compare(module.pairs(args), peer, args.repeats, clock, args.device)
    return f'{part.capitalize()}. {module.sizes(args)}\n\n{text}', results


def make_parser() -> argparse.ArgumentParser:
    """Options; the sizes are those of a core."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--parts', choices=PARTS, nargs='+', default=PARTS, help='(default: all)')
    for name, value, text in (
        ('--rows', 256, 'images of SimCLR, MoCo-v2 and VICReg'),
        ('--batch', 16, 'images of what has cells or many crops'),
        ('--cells', 7, 'along a side of the maps'),
        ('--queue', 16384, 'negatives of the losses'),
        ('--channels', 2048, 'of VICReg, and of VICRegL also in the steps; its maps have a quarter'),
        ('--outputs', 65536, 'of DINO'),
        ('--images', 16, 'that views are made of'),
        ('--step-batch', 8, 'images of a step'),
        ('--step-size', 224, 'side of a view in a step, in pixels'),
    ):
        parser.add_argument(name, type=int, default=value, help=f'{text} (default: %(default)s)')
    add_options(parser, repeats=5)
    add_device_options(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Check that both sides agree, measure them, print the tables."""
    args = make_parser().parse_args(argv)
    if set(args.parts) & set(LIGHTLY):
        require_lightly()
    warnings.filterwarnings('ignore', message=r'The function `get_image_size')  # of lightly's crop, for each process
    clock = set_up_device(args)
    found = [measure(part, args, clock) for part in PARTS if part in args.parts]
    text = '\n\n'.join([*(text for text, _ in found), provenance(args.repeats, args.clock, args.device)])
    publish(text, args, {key: value for _, results in found for key, value in results.items()})


if __name__ == '__main__':
    main()
