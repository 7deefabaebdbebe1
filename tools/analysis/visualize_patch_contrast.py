"""Pictures of a run of patch contrast, from what histomm.ConfidenceRecorder kept:

python tools/analysis/visualize_patch_contrast.py work_dirs/confnet_mse_patches

Writes into WORK_DIR/pictures: maps.png, the confidences over epochs with the patches that were drawn; spread.png, the
confidence and entropy of all windows over epochs; animation.png, which moves. With --image, --labels and --truth, the
label map of tools/segment_nuclei.py and that of the data set, also errors.png.
"""

import argparse
import sys
from pathlib import Path

from histomm.datasets.label_maps import read_label_map
from histomm.datasets.transforms import UnreadableImageError, read_image
from histomm.visualization.panels import write_picture
from histomm.visualization.patch_contrast import (
    draw_error_figure,
    draw_maps,
    draw_spread,
    read_records,
    spread_evenly,
    write_animation,
)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dir', type=Path, help='work folder of tools/train.py')
    parser.add_argument('--out', type=Path, help='folder (default: WORK_DIR/pictures)')
    parser.add_argument('--channel', type=int, help='class of the animation; the one whose confidence varies most')
    parser.add_argument('--epochs', type=int, default=5, help='columns of the maps (default: %(default)s)')
    parser.add_argument('--image', type=Path, help='image of errors.png')
    parser.add_argument('--labels', type=Path, help='its label map, as found')
    parser.add_argument('--truth', type=Path, help='its label map, as it should be')
    args = parser.parse_args(argv)
    given = [args.image, args.labels, args.truth]
    if any(given) and not all(given):
        parser.error('--image, --labels and --truth go together')
    if args.epochs < 1:
        parser.error(f'--epochs is {args.epochs}, expected 1 or more')
    return args


def run(args: argparse.Namespace) -> None:
    image, records = read_records(args.work_dir)
    out = args.out or args.work_dir / 'pictures'
    last = records[-1].confidence
    channel = int(last.std(axis=(1, 2)).argmax()) if args.channel is None else args.channel
    if not 0 <= channel < len(last):
        raise ValueError(f'--channel is {channel}, expected 0 to {len(last) - 1}')
    write_picture(draw_maps(image, spread_evenly(records, args.epochs)), out / 'maps.png')
    write_picture(draw_spread(records), out / 'spread.png')
    write_animation(out / 'animation.png', image, records, channel)
    names = ['maps.png', 'spread.png', 'animation.png']
    if args.image:
        pixels = read_image(str(args.image))
        found, truth = read_label_map(args.labels), read_label_map(args.truth)
        write_picture(draw_error_figure(pixels, found, truth, args.image.stem), out / 'errors.png')
        names.append('errors.png')
    print(f'{out}: {", ".join(names)}; class {channel} moves')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        run(args)
    except (OSError, ValueError, UnreadableImageError) as error:
        sys.exit(f'visualize_patch_contrast: {error}')


if __name__ == '__main__':
    main()
