"""Bring all images of a folder to one stain, once: python tools/dataset_converters/normalize_stain.py DATA --out OUT

Writes every TIFF, PNG, JPEG and BMP below DATA to the same place below OUT, as a lossless file: JPEG as PNG, the others
under their names, and conversion.json. Statistics are those of the whole image, so photographs that are cut into
patches later keep what their patches differ in. Images with too little stained tissue are written as they are, and
counted.

A stopped run leaves OUT.partial, and goes on there when started again, if names and contents of the images and of the
target are what they were. Lists are not copied: let the converter of the
data set draw them for OUT, where the same seed gives the same split.
"""

import argparse
import hashlib
from collections import Counter
from pathlib import Path

from PIL import Image

from histomm.datasets.conversion import claim, convert_each, run_conversion
from histomm.datasets.label_maps import ConversionError
from histomm.datasets.patch_sources import extension, scan_folder
from histomm.datasets.transforms import MacenkoNormalize, ReinhardNormalize
from histomm.datasets.transforms.loading import EXTENSIONS, read_image

METHODS = {'reinhard': ReinhardNormalize, 'macenko': MacenkoNormalize}
LOSSY = ('jpg', 'jpeg')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder of images, at any depth')
    parser.add_argument('--out', type=Path, required=True, help='new or empty folder')
    parser.add_argument(
        '--method',
        choices=METHODS,
        default='reinhard',
        help='reinhard (default), to what MPCS has for BACH, or macenko',
    )
    parser.add_argument('--target', type=Path, help='image to take the stain from, in place of the published reference')
    return parser.parse_args(argv)


def written_name(path: str) -> str:
    """Where an image goes, relative to the folder."""
    return str(Path(path).with_suffix('.png')) if extension(path) in LOSSY else path


def digest(files: list[Path], names: list[str]) -> str:
    """SHA-256 of the names and contents of files."""
    found = hashlib.sha256()
    for file, name in zip(files, names, strict=True):
        found.update(f'{name}\n{hashlib.sha256(file.read_bytes()).hexdigest()}\n'.encode())
    return found.hexdigest()


def convert(args: argparse.Namespace) -> None:
    try:
        paths = scan_folder(str(args.data), EXTENSIONS)
        transform = METHODS[args.method](target=None if args.target is None else str(args.target))
    except ValueError as error:
        raise ConversionError(str(error)) from error
    twice = [name for name, count in Counter(map(written_name, paths)).items() if count > 1]
    if twice:
        raise ConversionError(f'{args.data} has {twice[0]} as PNG and as JPEG, which would become one; rename one')
    recipe = dict(
        version=2,
        dataset='normalize_stain',
        transform=repr(transform),
        sha256_of_images=digest([args.data / path for path in paths], paths),
        sha256_of_target=digest([args.target], ['']) if args.target else '',
    )
    partial = claim(args.out, recipe)
    if partial is None:
        print(f'{args.out} holds these images already')
        return

    def normalise(path: str) -> dict:
        before = transform.num_unchanged
        try:
            image = read_image(str(args.data / path))
        except ValueError as error:
            raise ConversionError(str(error)) from error
        image = transform.transform(dict(img=image, img_path=path))['img']
        file = partial / written_name(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        lossless = dict(compression='tiff_deflate') if extension(path) in ('tif', 'tiff') else {}
        Image.fromarray(image).save(file, **lossless)
        return dict(changed=transform.num_unchanged == before)

    rows = convert_each(partial, paths, normalise)
    partial.replace(args.out)
    unchanged = sum(not row['changed'] for row in rows)
    print(f'{args.out}: {len(rows)} images, {unchanged} of them with too little stained tissue, left as they are')


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('normalize_stain', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
