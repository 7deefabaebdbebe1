"""Lay features out in the plane by t-SNE, UMAP or principal components, coloured by class or cluster.

    python tools/analysis/embed_features.py features/nct.h5 --method tsne --out work_dirs/nct_tsne.png
    python tools/analysis/embed_features.py features/breakhis.h5 --panels magnification --out breakhis_tsne.png

Each panel is laid out by itself: places of two panels cannot be compared.
"""

import argparse
import re
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np

from histomm.datasets.breakhis import parse_name
from histomm.evaluation.feature_store import FeatureSet, join_features, read_features
from histomm.evaluation.splits import groups_of
from histomm.visualization.embedding import METHODS, Cloud, draw_embedding, embed
from histomm.visualization.panels import SUFFIXES, check_picture_path, write_picture


def parse_args(argv: list[str] | None = None) -> Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('features', type=Path, nargs='+', help='feature files of tools/extract_features.py')
    parser.add_argument('--method', choices=METHODS, default='tsne', help='default: %(default)s')
    parser.add_argument(
        '--panels', metavar='RULE',
        help="a panel for each 'magnification' of BreakHis, or by a regular expression whose bracket names the panel",
    )  # fmt: skip
    parser.add_argument('--clusters', type=Path, help='clusters.npz of tools/cluster_features.py, to colour by')
    parser.add_argument('--max', type=int, default=5000, help='rows of a panel, drawn at random (default: %(default)s)')
    parser.add_argument('--neighbours', type=float, default=30, help='perplexity, or neighbours of UMAP (default: 30)')
    parser.add_argument(
        '--components', type=int, default=50,
        help='principal components that t-SNE and UMAP see, 0 for the features themselves (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument('--seed', type=int, default=0, help='of all that is drawn (default: %(default)s)')
    parser.add_argument('--out', type=Path, required=True, help=f'picture, {", ".join(SUFFIXES)}')
    return parser.parse_args(argv)


def panels_of(names: np.ndarray, rule: str | None) -> dict[str, np.ndarray]:
    """Rows of each panel, in the order of the numbers in their names, else by name; one without a name if no rule."""
    if rule is None:
        return {'': np.arange(len(names))}
    if rule == 'magnification':
        found = np.array([f'{parse_name(Path(name).name).magnification}X' for name in names])
    else:
        found = groups_of(list(names), rule).astype(str)

    def order(name: str) -> tuple[float, str]:
        number = re.search(r'\d+', name)
        return (float(number[0]) if number else float('inf'), name)

    return {name: np.flatnonzero(found == name) for name in sorted(set(found.tolist()), key=order)}


def lay_out(name: str, rows: np.ndarray, content: FeatureSet, labels: np.ndarray | None, args: Namespace) -> Cloud:
    """The points of a panel."""
    total = len(rows)
    if total > args.max:
        rows = np.sort(np.random.default_rng(args.seed).choice(rows, args.max, replace=False))
    if name and total < 3:
        raise ValueError(f'the panel {name!r} has {total} rows, expected 3 or more; correct --panels')
    places = embed(content.features[rows], args.method, args.seed, args.neighbours, args.components)
    shown = f'{len(rows):,}' if len(rows) == total else f'{len(rows):,} of {total:,}'
    return Cloud(places, None if labels is None else labels[rows], f'{name}: {shown} rows'.removeprefix(': '))


def run(args: Namespace) -> str:
    """Lay out, draw, and say what was shown."""
    check_picture_path(args.out)
    content = join_features([read_features(path) for path in args.features])
    labels, names = content.labels, content.classes or ()
    if args.clusters:
        labels = np.load(args.clusters)['labels']
        names = [f'cluster {number}' for number in range(int(labels.max()) + 1)]
        if len(labels) != len(content.features):
            raise ValueError(f'{args.clusters} has {len(labels)} rows, the features {len(content.features)}')
    panels = panels_of(content.names, args.panels)
    clouds = [lay_out(name, rows, content, labels, args) for name, rows in panels.items()]
    title = f'{content.settings.get("model", "features")}, {args.method}'
    write_picture(draw_embedding(clouds, names, title), args.out)
    drawn = sum(len(cloud.places) for cloud in clouds)
    return f'{args.out}: {drawn} of {len(content.features)} rows' + (f' in {len(clouds)} panels' if args.panels else '')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        print(run(args))
    except (OSError, ValueError, ModuleNotFoundError) as error:
        sys.exit(f'embed_features: {error}')


if __name__ == '__main__':
    main()
