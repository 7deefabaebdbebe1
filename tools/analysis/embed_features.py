"""Lay features out in the plane by t-SNE, UMAP or principal components, coloured by class or cluster.

python tools/analysis/embed_features.py features/nct.h5 --method tsne --out work_dirs/nct_tsne.png
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from histomm.evaluation.feature_store import join_features, read_features
from histomm.visualization.embedding import METHODS, draw_embedding, embed
from histomm.visualization.panels import SUFFIXES, check_picture_path, write_picture


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('features', type=Path, nargs='+', help='feature files of tools/extract_features.py')
    parser.add_argument('--method', choices=METHODS, default='tsne', help='default: %(default)s')
    parser.add_argument('--clusters', type=Path, help='clusters.npz of tools/cluster_features.py, to colour by')
    parser.add_argument('--max', type=int, default=5000, help='rows, drawn at random (default: %(default)s)')
    parser.add_argument('--neighbours', type=float, default=30, help='perplexity, or neighbours of UMAP (default: 30)')
    parser.add_argument('--seed', type=int, default=0, help='of all that is drawn (default: %(default)s)')
    parser.add_argument('--out', type=Path, required=True, help=f'picture, {", ".join(SUFFIXES)}')
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> str:
    """Lay out, draw, and say what was shown."""
    check_picture_path(args.out)
    content = join_features([read_features(path) for path in args.features])
    labels, names = content.labels, content.classes or ()
    if args.clusters:
        labels = np.load(args.clusters)['labels']
        names = [f'cluster {number}' for number in range(int(labels.max()) + 1)]
        if len(labels) != len(content.features):
            raise ValueError(f'{args.clusters} has {len(labels)} rows, the features {len(content.features)}')
    rows = np.arange(len(content.features))
    if len(rows) > args.max:
        rows = np.sort(np.random.default_rng(args.seed).choice(rows, args.max, replace=False))
    places = embed(content.features[rows], args.method, args.seed, args.neighbours)
    model = content.settings.get('model', 'features')
    title = f'{model}: {len(rows):,} of {len(content.features):,} rows, {args.method}'
    write_picture(draw_embedding(places, None if labels is None else labels[rows], names, title), args.out)
    return f'{args.out}: {len(rows)} of {len(content.features)} rows'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        print(run(args))
    except (OSError, ValueError, ModuleNotFoundError) as error:
        sys.exit(f'embed_features: {error}')


if __name__ == '__main__':
    main()
