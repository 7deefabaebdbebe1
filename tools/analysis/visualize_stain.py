"""Picture of what normalisation and augmentation of the stain make of an image.

python tools/analysis/visualize_stain.py patch.png --statistics stain.yaml --out stain.png
"""

import argparse
import sys
from pathlib import Path

from matplotlib.figure import Figure

from histomm.datasets import SampleIndex
from histomm.datasets.transforms import (
    HEDJitter,
    MacenkoNormalize,
    RandStainNA,
    ReinhardNormalize,
    UnreadableImageError,
    read_image,
)
from histomm.visualization.panels import SUFFIXES, check_picture_path, show_image, write_picture

COLUMNS = 4


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('image', help='image file')
    parser.add_argument('--target', help='image to normalise to; published references if left out')
    parser.add_argument('--statistics', help='file of tools/analysis/stain_statistics.py, for a row of RandStainNA')
    parser.add_argument('--seed', type=int, default=0, help='seed of the draws')
    parser.add_argument('--out', required=True, type=Path, help=f'picture, {", ".join(SUFFIXES)}')
    return parser.parse_args(argv)


def rows(args: argparse.Namespace) -> list[list[tuple[str, object]]]:
    """Names and transforms of the picture, row by row; the first place is the image's own."""
    plain = [
        ('Macenko', MacenkoNormalize(args.target)),
        ('Reinhard, lαβ', ReinhardNormalize(target=args.target)),
    ]
    if args.target:
        plain.append(('Reinhard, L*a*b*', ReinhardNormalize(target=args.target, space='lab')))
    drawn = [[('HEDJitter, 0.05', HEDJitter())] * COLUMNS, [('HEDJitter, 0.2', HEDJitter(0.2, 0.2))] * COLUMNS]
    if args.statistics:
        drawn.append([('RandStainNA', RandStainNA(args.statistics))] * COLUMNS)
    return [plain, *drawn]


def draw(args: argparse.Namespace) -> str:
    """Make the picture and say what it shows."""
    check_picture_path(args.out)
    image, panels = read_image(args.image), rows(args)
    figure = Figure(figsize=(2.4 * COLUMNS, 2.6 * len(panels)), layout='constrained')
    show_image(figure.add_subplot(len(panels), COLUMNS, 1), image, 'as it is')
    for number, row in enumerate(panels):
        for column, (name, transform) in enumerate(row, start=number == 0):
            index = SampleIndex(column, args.seed)
            changed = transform(dict(img=image, img_path=args.image, sample_idx=index, view=1))['img']
            show_image(figure.add_subplot(len(panels), COLUMNS, number * COLUMNS + column + 1), changed, name)
    write_picture(figure, args.out)
    return f'{args.out}: {sum(map(len, panels))} changes of the stain'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        print(draw(args))
    except (ValueError, FileNotFoundError, UnreadableImageError) as error:
        sys.exit(f'visualize_stain: {error}')


if __name__ == '__main__':
    main()
