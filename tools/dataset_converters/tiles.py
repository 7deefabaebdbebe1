"""Cut large images into tiles for pre-training: python tools/dataset_converters/tiles.py data/regions --out data/tiles

All images below the folder are cut without overlap; what is left at the right and at the bottom is dropped. A tile lies
in the folder that its image has and is named <image>_<x>_<y>.png. tiles.json lists the images and how many tiles each
gave. Exclude masks and whatever the evaluation must not have seen, with patterns such as '*mask*'.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2

from histomm.datasets import PatchDataset
from histomm.datasets.transforms.loading import UnreadableImageError, read_image

SUMMARY = 'tiles.json'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder of images, read through all levels')
    parser.add_argument('--out', type=Path, required=True, help='new or empty folder')
    parser.add_argument('--size', type=int, default=224, help='side of a tile in pixels (default 224)')
    parser.add_argument(
        '--exclude',
        nargs='+',
        default=[],
        metavar='PATTERN',
        help='paths below the folder to leave out; * also matches /',
    )
    return parser.parse_args(argv)


def cut(path: Path, stem: Path, size: int) -> int:
    """Write the tiles of one image, ``stem`` being where they go and how their names begin; how many there are."""
    image = read_image(str(path))
    height, width = image.shape[:2]
    places = [(x, y) for y in range(0, height - size + 1, size) for x in range(0, width - size + 1, size)]
    for x, y in places:
        tile = cv2.cvtColor(image[y : y + size, x : x + size], cv2.COLOR_RGB2BGR)
        stem.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(f'{stem}_{x}_{y}.png', tile):
            raise ValueError(f'{stem}_{x}_{y}.png could not be written; is the disk full?')
    return len(places)


def cut_folder(data: Path, out: Path, size: int, exclude: list[str]) -> dict[str, int]:
    """Cut all images below ``data``; image, relative to it, to the number of its tiles.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no image is as large as a tile, ``out`` is no empty folder, an image cannot be read, or two images
            differ in their suffix alone.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f'{out} is not empty or no folder; choose a new or empty folder')
    if size < 1:
        raise ValueError(f'--size is {size}, expected at least 1')
    dataset, counts, stems = PatchDataset(data_root=str(data), exclude=exclude), {}, {}
    for index in range(len(dataset)):
        path = Path(dataset.get_data_info(index)['img_path'])
        inside = path.relative_to(data)
        stem = out / inside.with_suffix('')
        if (other := stems.setdefault(stem, inside)) != inside:
            raise ValueError(f'{data} holds {other} and {inside}, whose tiles would have the same names; rename one')
        counts[inside.as_posix()] = cut(path, stem, size)
    if not any(counts.values()):
        raise ValueError(f'{data}: none of {len(counts)} images has {size} x {size} pixels; choose a smaller --size')
    return counts


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        counts = cut_folder(args.data, args.out, args.size, args.exclude)
    except (ValueError, FileNotFoundError, UnreadableImageError) as error:
        sys.exit(f'tiles: {error}')
    (args.out / SUMMARY).write_text(json.dumps(dict(size=args.size, tiles=counts), indent=1))
    small = sum(count == 0 for count in counts.values())
    print(f'{args.out}: {sum(counts.values())} tiles of {len(counts)} images, {small} of them smaller than a tile')


if __name__ == '__main__':
    main()
