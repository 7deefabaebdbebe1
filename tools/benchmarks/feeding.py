"""Images per second and core from each form that patches can be kept in, and how long a step waits for a loader.

The same drawn pictures of 256 x 256 are read through histomm's own data sets from TIFF, PNG and JPEG files, HDF5,
WebDataset and straight from a slide, to the decoded image and to the two packed views of MoCo-v2. Pictures of
``--large`` pixels as JPEG files are read whole and at reduced scale. All in turns, on one thread of one process:

    python tools/benchmarks/feeding.py [--forms "TIFF files" HDF5] [--images 96] [--repeats 5]

With ``--workers``, a loader of that many processes feeds steps of MoCo-v2 with ResNet-18, or pauses of ``--step-ms`` in
their place; a second table says which share of a step is spent waiting for the loader:

    python tools/benchmarks/feeding.py --workers 16 --batch 256 --device cuda --amp --channels-last
    python tools/benchmarks/feeding.py --workers 2 --batch 32 --step-ms 200
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch
from _feeding import BASE, FORMS, LARGE, Form, lay_out
from _loader_wait import choose_step, make_loader, waits
from _timing import ROOT, Spread, add_options, in_turns, make_clock, provenance, publish, ratios, spread, table
from mmengine.config import Config
from slides import loads

from histomm.engine.speed import SWITCHES

CONFIG = ROOT / 'configs' / '_base_' / 'datasets' / 'nct_two_views.py'


def view_pipeline() -> list[dict]:
    """From ``LoadPatch`` to ``PackViews``, as shipped."""
    return Config.fromfile(CONFIG).train_dataloader.dataset.pipeline


def rates(root: Path, forms: Sequence[Form], counts: dict[bool, int], args: argparse.Namespace) -> tuple[str, dict]:
    """Table and figures of reading alone and of reading with views."""
    pipelines = {'decoded': view_pipeline()[:1], 'views': view_pipeline()}
    images = {form.name: max(args.images // (8 if form.large else 1), 1) for form in forms}
    clock = make_clock('cpu', torch.device('cpu'))
    times, results = {}, {}
    for what, pipeline in pipelines.items():
        runs = {}
        for form in forms:
            if not (what == 'decoded' and form.reduced):
                dataset = form.dataset(root, pipeline)
                runs[form.name] = loads(dataset, form.sampler(dataset), images[form.name], args.batch)
        taken = in_turns(runs, args.repeats, clock)
        times[what] = {name: [second / images[name] for second in seconds] for name, seconds in taken.items()}
    rows = [[form.name, f'{form.bytes_of_each(root, counts[form.large]) / 1e3:,.0f}'] for form in forms]
    for form, row in zip(forms, rows, strict=True):
        for what, of_each in times.items():
            row += _cells(form, what, of_each, results)
    head = ['form', 'kB an image', 'decoded, images/s', 'to TIFF files', 'two views, images/s', 'to TIFF files']
    return table(head, rows), results


def _cells(form: Form, what: str, of_each: dict[str, list[float]], results: dict[str, Spread]) -> list[str]:
    """Rate of a form and its ratio to the first one, or to the whole images for those at reduced scale."""
    if form.name not in of_each:
        return ['–', '–']
    rate = spread([1 / seconds for seconds in of_each[form.name]])
    results[f'{form.name} {what}, images/s'] = rate
    whole = form.name.removesuffix(' at reduced scale')
    if form.reduced and whole in of_each:
        results[f'{form.name} to whole, ratio'] = ratios(of_each[whole], of_each[form.name])
    if BASE not in of_each or form.large:
        return [rate.text(0), '–']
    ratio = ratios(of_each[BASE], of_each[form.name])
    results[f'{form.name} {what} to {BASE}, ratio'] = ratio
    return [rate.text(0), ratio.text(2)]


def loader_waits(root: Path, forms: Sequence[Form], args: argparse.Namespace) -> tuple[str, dict[str, Spread]]:
    """Table and figures of waiting, form by form."""
    switches = [name for name in SWITCHES if getattr(args, name)]
    rows, results = [], {}
    for form in forms:
        dataset = form.dataset(root, view_pipeline())
        loader = make_loader(dataset, form.sampler(dataset, infinite=True), args.workers, args.batch, args.device)
        step = choose_step(args.step_ms, args.device, switches)
        shares, seconds = waits(loader, step, args.steps, args.repeats)
        share, whole = spread(shares), spread(seconds).scaled(1e3)
        results |= {f'{form.name} wait of a step, %': share, f'{form.name} step with its wait, ms': whole}
        rows.append([form.name, whole.text(1), share.text(1), f'{args.batch / whole.median * 1e3:,.0f}'])
    what = f'loader of {args.workers} processes, batch {args.batch}'
    return table([what, 'step with its wait, ms', 'wait, % of the step', 'images/s'], rows), results


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [form.name for form in FORMS]
    parser.add_argument('--forms', nargs='+', choices=names, default=names, metavar='FORM', help='default: all')
    parser.add_argument('--side', type=int, default=4096, help='of the drawn slide, in pixels (default: %(default)s)')
    parser.add_argument('--large', type=int, default=LARGE, help='side of the large pictures (default: %(default)s)')
    parser.add_argument('--images', type=int, default=96, help='images of a turn (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=32, help='images of a batch (default: %(default)s)')
    waiting = parser.add_argument_group('waiting')
    waiting.add_argument('--workers', type=int, default=0, help='processes of the loader; 0 leaves this table out')
    waiting.add_argument('--steps', type=int, default=20, help='steps of one measurement (default: %(default)s)')
    waiting.add_argument('--step-ms', type=float, metavar='MS', help='pause so long in place of a real step')
    waiting.add_argument('--device', type=torch.device, default=torch.device('cpu'), help='of the real step')
    for name in SWITCHES:
        waiting.add_argument(f'--{name.replace("_", "-")}', action='store_true', help='as in tools/train.py')
    add_options(parser, repeats=5)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Lay out, measure in turns and print rates, ratios and waits."""
    args = parse_args(argv)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    forms = [form for form in FORMS if form.name in args.forms]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        counts = lay_out(root, args.side, args.large)
        text, results = rates(root, forms, counts, args)
        tables = [text]
        if args.workers:
            text, figures = loader_waits(root, forms, args)
            tables.append(text)
            results |= figures
    publish('\n\n'.join([*tables, provenance(args.repeats, 'cpu', args.device)]), args, results)


if __name__ == '__main__':
    main()
