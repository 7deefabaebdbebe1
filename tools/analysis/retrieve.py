"""Show the images that are most alike to some by their features, and how often they are of the same class.

python tools/analysis/retrieve.py features/nct.h5 --images data/NCT-CRC-HE-100K --out work_dirs/nct_alike.png
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from histomm.evaluation.feature_store import FeatureSet, join_features, read_features
from histomm.evaluation.retrieval import precision_at, retrieve
from histomm.evaluation.splits import groups_of
from histomm.visualization.clusters import PATCH
from histomm.visualization.panels import SUFFIXES, check_picture_path, write_picture
from histomm.visualization.patch_reader import PatchReader
from histomm.visualization.retrieval import draw_retrieval
from histomm.wsi.reader import read_mpp_table
from histomm.wsi.tile_table import read_tiles


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('features', type=Path, nargs='+', help='feature files of tools/extract_features.py')
    parser.add_argument('--query', nargs='+', default=[], help='names of images; else some are drawn')
    parser.add_argument('--num', type=int, default=8, help='queries to draw (default: %(default)s)')
    parser.add_argument('--k', type=int, default=6, help='images for each (default: %(default)s)')
    parser.add_argument('--groups', help="leave the query's group out: 'tcga', or a regular expression on the names")
    parser.add_argument('--seed', type=int, default=0, help='of the queries (default: %(default)s)')
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--images', type=Path, help='folder of the images')
    source.add_argument('--slides', type=Path, help='folder of the slides')
    parser.add_argument('--tiles', type=Path, help='tile table that the features were extracted with')
    parser.add_argument('--mpp-table', type=Path, help='CSV slide,mpp for slides whose file does not say')
    parser.add_argument('--out', type=Path, required=True, help=f'picture, {", ".join(SUFFIXES)}')
    return parser.parse_args(argv)


def choose_queries(content: FeatureSet, args: argparse.Namespace) -> np.ndarray:
    """Rows of the named images, or of drawn ones, as evenly from the classes as they go."""
    if args.query:
        place = {name: row for row, name in enumerate(content.names)}
        unknown = [name for name in args.query if name not in place]
        if unknown:
            raise ValueError(f'--query {unknown[0]}: no such name, expected one like {content.names[0]}')
        return np.array([place[name] for name in args.query])
    rows = np.random.default_rng(args.seed).permutation(len(content.names))
    if content.classes:
        labels = content.labels[rows]
        turn = np.zeros(len(rows), int)
        for label in np.unique(labels):
            turn[labels == label] = np.arange((labels == label).sum())
        rows = rows[np.lexsort((labels, turn))]
    return rows[: args.num]


def draw(
    content: FeatureSet, reader: PatchReader, queries: np.ndarray, rows: np.ndarray, similar: np.ndarray, out: Path
):
    """Make the picture."""
    patches, captions, right = [], [], []
    for query, members, values in zip(queries, rows, similar, strict=True):
        kept = [int(row) for row in members if row >= 0]
        patches.append([reader.read(row, PATCH) for row in (int(query), *kept)])
        names = [_caption(content, row) for row in (int(query), *kept)]
        captions.append([names[0], *(f'{value:.3f} {name}' for value, name in zip(values, names[1:], strict=False))])
        known = content.classes is not None
        right.append([bool(content.labels[row] == content.labels[query]) if known else None for row in (query, *kept)])
    write_picture(draw_retrieval(patches, captions, right), out)


def _caption(content: FeatureSet, row: int) -> str:
    if content.classes is not None:
        return content.classes[int(content.labels[row])]
    return Path(content.names[row]).stem[:12]


def run(args: argparse.Namespace) -> str:
    """Retrieve, draw, and say how often the class is the same."""
    check_picture_path(args.out)
    content = join_features([read_features(path) for path in args.features])
    tiles = read_tiles(args.tiles) if args.tiles else None
    mpp = read_mpp_table(args.mpp_table) if args.mpp_table else None
    reader = PatchReader(content.names, content.coords, args.slides or args.images, tiles, mpp)
    groups = groups_of(list(content.names), args.groups) if args.groups else None
    queries = choose_queries(content, args)
    rows, similar = retrieve(content.features, queries, args.k, groups)
    draw(content, reader, queries, rows, similar, args.out)
    said = ''
    if content.classes is not None:
        everything = np.arange(len(content.names))[:: max(1, len(content.names) // 2000)]
        share = precision_at(content.labels, everything, retrieve(content.features, everything, args.k, groups)[0])
        said = f'; of {len(everything)} images, {100 * share:.1f} % of the {args.k} most alike are of their class'
    return f'{args.out}: {len(queries)} queries{said}'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        print(run(args))
    except (OSError, ValueError, ModuleNotFoundError) as error:
        sys.exit(f'retrieve: {error}')


if __name__ == '__main__':
    main()
