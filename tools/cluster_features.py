"""Cluster features by mini-batch k-means, choose how many clusters, and show what is in them and where they lie.

    python tools/cluster_features.py features/nct.h5 --ks 10 20 30 40 --images data/NCT-CRC-HE-100K --out work_dirs/nct
    python tools/cluster_features.py features/*.h5 --ks 1000 2000 3000 4000 --slides data/slides --tiles tiles.parquet \
        --out work_dirs/clusters

Writes clusters.json (the curve, what was chosen), clusters.npz (centres, cluster and distance of every row), curve.png
(of several k), nearest.png (patches nearest to each centre) and, of slides, SLIDE.png and SLIDE.geojson, which QuPath
opens.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from histomm.atomic_file import atomic_path, write_atomic
from histomm.evaluation.clustering import Clusters, elbow, explained_variance, kmeans, nearest_rows
from histomm.evaluation.feature_store import FeatureSet, join_features, read_features
from histomm.visualization.clusters import PATCH, cluster_color, draw_nearest, draw_painted, draw_variance
from histomm.visualization.panels import write_picture
from histomm.visualization.patch_reader import PatchReader
from histomm.wsi.geojson import Feature, feature_of_polygon, write_geojson
from histomm.wsi.outlines import Polygon
from histomm.wsi.reader import read_mpp_table
from histomm.wsi.tile_table import read_tiles


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('features', type=Path, nargs='+', help='feature files of tools/extract_features.py')
    parser.add_argument('--ks', type=int, nargs='+', required=True, help='numbers of clusters to try, increasing')
    parser.add_argument('--k', type=int, help='the one of --ks to take; else that of the elbow, or the only one')
    parser.add_argument('--seed', type=int, default=0, help='of k-means (default: %(default)s)')
    parser.add_argument('--batch-size', type=int, default=4096, help='rows of a mini-batch (default: %(default)s)')
    parser.add_argument('--images', type=Path, help='folder of the images, for pictures of patches')
    parser.add_argument('--slides', type=Path, help='folder of the slides, for pictures of tiles and slides')
    parser.add_argument('--tiles', type=Path, help='tile table that the features were extracted with')
    parser.add_argument('--mpp-table', type=Path, help='CSV slide,mpp for slides whose file does not say')
    parser.add_argument('--show', type=int, default=24, help='clusters in nearest.png, the largest (default: 24)')
    parser.add_argument('--nearest', type=int, default=3, help='patches of each (default: %(default)s)')
    parser.add_argument('--max-slides', type=int, default=20, help='slides to paint (default: %(default)s)')
    parser.add_argument('--out', type=Path, required=True, help='folder')
    args = parser.parse_args(argv)
    if bool(args.slides) != bool(args.tiles):
        parser.error('--slides and --tiles go together')
    if args.ks != sorted(set(args.ks)) or args.ks[0] < 1:
        parser.error(f'--ks are {args.ks}, expected numbers above 0, increasing')
    if args.k is not None and args.k not in args.ks:
        parser.error(f'--k is {args.k}, expected one of --ks')
    if args.k is None and len(args.ks) == 2:
        parser.error('--ks are two, of which none is an elbow; give --k, or three or more')
    return args


def choose(content: FeatureSet, args: argparse.Namespace) -> tuple[Clusters, int | None, list[float]]:
    """The clusters of the chosen number, the elbow if there is one, and the explained variance of every number."""
    variances, kept = [], {}
    for k in args.ks:
        found = kmeans(content.features, k, args.seed, args.batch_size)
        variances.append(explained_variance(content.features, found.distances))
        kept[k] = found
        print(f'k = {k}: {100 * variances[-1]:.2f} % explained', flush=True)
    bend = elbow(args.ks, variances) if len(args.ks) > 2 else None
    return kept[args.k or bend or args.ks[0]], bend, variances


def write_tables(content: FeatureSet, clusters: Clusters, args: argparse.Namespace, record: dict) -> None:
    """Write what was found as JSON and arrays."""
    counts = np.bincount(clusters.labels, minlength=len(clusters.centres))
    record |= {'sizes': counts.tolist(), 'seed': args.seed, 'batch_size': args.batch_size, 'features': content.settings}
    write_atomic(json.dumps(record, ensure_ascii=False, indent=1).encode(), args.out / 'clusters.json')
    arrays = dict(
        centres=clusters.centres,
        labels=clusters.labels,
        distances=np.sqrt(clusters.distances),
        names=content.names.astype(str),
    )
    if content.coords is not None:
        arrays['coords'] = content.coords
    with atomic_path(args.out / 'clusters.npz') as partial, open(partial, 'wb') as file:
        np.savez_compressed(file, **arrays)


def draw_patches(reader: PatchReader, clusters: Clusters, args: argparse.Namespace) -> None:
    """The patches nearest to the centres of the largest clusters."""
    counts = np.bincount(clusters.labels, minlength=len(clusters.centres))
    members = nearest_rows(clusters, args.nearest)
    shown = [number for number in np.argsort(-counts, kind='stable')[: args.show] if counts[number]]
    patches = [[reader.read(int(row), PATCH) for row in members[number]] for number in shown]
    titles = [f'{number}: {counts[number]:,} patches' for number in shown]
    colors = [cluster_color(int(number)) for number in shown]
    write_picture(draw_nearest(patches, titles, colors), args.out / 'nearest.png')


def tile_features(boxes: np.ndarray, labels: np.ndarray, distances: np.ndarray) -> Iterator[Feature]:
    """A detection for every tile, with its cluster as class."""
    for (x1, y1, x2, y2), label, distance in zip(boxes, labels, distances, strict=True):
        corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], np.float64)
        yield feature_of_polygon(
            Polygon(corners, []),
            name=f'cluster {label}',
            color=cluster_color(int(label)),
            measurements={'distance to centre': round(float(distance), 4)},
        )


def paint_slides(reader: PatchReader, content: FeatureSet, clusters: Clusters, args: argparse.Namespace) -> list[str]:
    """Picture and GeoJSON of each slide, in the order of their names."""
    painted = sorted(set(content.names))[: args.max_slides]
    for name in painted:
        rows = np.flatnonzero(content.names == name)
        slide = reader.slide(name)
        thumbnail, boxes = slide.thumbnail(1024), reader.boxes(rows)
        zoom = np.tile(np.array(thumbnail.shape[1::-1]) / slide.size, 2)
        stem = args.out / name.replace('/', '_')
        labels = clusters.labels[rows]
        write_picture(draw_painted(thumbnail, boxes * zoom, labels, name), stem.with_name(f'{stem.name}.png'))
        distances = np.sqrt(clusters.distances[rows])
        write_geojson(stem.with_name(f'{stem.name}.geojson'), tile_features(boxes, labels, distances))
    return painted


def run(args: argparse.Namespace) -> None:
    """Cluster, write, draw, and say what was chosen."""
    content = join_features([read_features(path) for path in args.features])
    root = args.slides or args.images
    tiles = read_tiles(args.tiles) if args.tiles else None
    mpp = read_mpp_table(args.mpp_table) if args.mpp_table else None
    reader = PatchReader(content.names, content.coords, root, tiles, mpp) if root else None
    clusters, bend, variances = choose(content, args)
    chosen = len(clusters.centres)
    write_tables(content, clusters, args, dict(ks=args.ks, explained_variance=variances, elbow=bend, k=chosen))
    if len(args.ks) > 1:
        write_picture(draw_variance(args.ks, variances, bend, chosen), args.out / 'curve.png')
    print(f'{args.out}: {chosen} clusters of {len(clusters.labels)} rows')
    if reader:
        draw_patches(reader, clusters, args)
    if args.slides:
        painted = paint_slides(reader, content, clusters, args)
        rest = len(set(content.names)) - len(painted)
        print(f'{args.out}: {len(painted)} slides painted' + (f', {rest} left out by --max-slides' if rest else ''))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        run(args)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        sys.exit(f'cluster_features: {error}')


if __name__ == '__main__':
    main()
