"""Writers of the on-disk layouts of real data sets, filled with drawn tissue.

A layout is one function that draws picture number ``index`` of a set and says which files it makes; the table
:data:`LAYOUTS` lists them. What a file holds depends on the seed, the patient and its number, never on how many files
were asked for.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .cells import draw_nuclei
from .class_photos import bach_pictures, bach_slide_pictures, lymphoma_pictures, nct_val_pictures, ucsb_pictures
from .encoding import Content, encode
from .glands import GRADES
from .magnifications import breakhis_82_pictures, breakhis_pictures
from .patchwork import breastpathq_pictures, breastpathq_tables, digestpath_pictures, gleason_pictures
from .regions import draw_region
from .slides import slide_case, slide_files, slide_tables
from .subtypes import subtype_pictures, subtype_tables
from .tissue import TISSUES, check_size, draw_glands, draw_patch

RECIPE = 'synthetic.json'
_VERSION = 1  # raised whenever the same arguments draw other pictures
_NCT_PATIENTS = 20
_GLAS_PATIENTS = 16
_GLAS_SPLIT = {'train': 85, 'testA': 60, 'testB': 20}  # of the challenge
_GLAS_GRADES = (0.20, 0.19, 0.31, 0.15, 0.15)  # shares of the grades in GlaS, in the order of GRADES
_GLAS_HEADER = ('name', 'patient ID', ' grade (GlaS)', ' grade (Sirinukunwattana et al. 2015)')
_CRAG_PATIENTS = range(101, 139)  # as many slides as CRAG has, other patients than in the drawn GlaS
_CRAG_SPLIT = {'train': 173, 'valid': 40}  # of the data set, whose test images lie in a folder called valid
_CRAG_GRADES = (0.10, 0.10, 0.40, 0.20, 0.20)  # mostly adenocarcinoma, in the order of GRADES
_OVERLAY = (255, 220, 0)
# Sites that gave slides to TCGA-BRCA; every second or third is in the test set of BCSS (OL, E2, LL, GM, EW, S3).
_BCSS_SITES = ('A7', 'OL', 'BH', 'AR', 'E2', 'C8', 'LL', 'A2', 'GM', 'D8', 'AN', 'EW', 'A1', 'S3')
_MONUSEG_SPLIT = {'train': 37, 'test': 14}
_MONUSEG_SITES = ('18', '21', '38', 'B0', 'A7', 'AR', 'CH', 'G9', 'HE', 'DK', 'RD', 'NH')  # of seven organs
_CONSEP_SPLIT = {'Train': 27, 'Test': 14}
_CONSEP_PATIENTS = range(201, 217)  # 16 patients

_LARGEST_SLIDE = 2**18

Writer = Callable[[Path], None]
Plan = tuple[tuple[str, ...], Callable[[], tuple[Content | Writer, ...]]]


@dataclass(frozen=True)
class Layout:
    """How one data set lies on disk.

    Attributes:
        size: Default ``(width, height)`` of a picture.
        pictures: ``pictures(num, size, seed)`` yields for each picture the relative paths of its files, the picture
            first, and a function that draws what they hold, to be encoded by the paths' suffixes; what would not fit in
            memory is a function that writes the file.
        tables: ``tables(num, seed)`` gives relative path to text of files beside the pictures.
    """

    size: tuple[int, int]
    pictures: Callable[[int, tuple[int, int], int], Iterator[Plan]]
    tables: Callable[[int, int], dict[str, str]]
    largest: int = 8192
    """Longest side of a picture that can be asked for."""


@dataclass(frozen=True)
class _Recipe:
    layout: str
    size: tuple[int, int]
    seed: int
    version: int = _VERSION


def _patch_alone(*args: Any) -> tuple[np.ndarray]:
    return (draw_patch(*args),)


def _nct_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``<CLASS>/<CLASS>-XXXX.tif``, the classes in turn."""
    for index in range(num):
        number, place = divmod(index, len(TISSUES))
        tissue = list(TISSUES)[place]
        patient = number % _NCT_PATIENTS
        yield (f'{tissue}/{tissue}-{number:04d}.tif',), partial(_patch_alone, tissue, size, seed, patient, number)


def _divide(num: int, shares: dict[str, int]) -> list[tuple[str, int]]:
    """``(split, number)`` of each picture; a longer list begins with the shorter one."""
    total = sum(shares.values())
    counts = dict.fromkeys(shares, 0)
    names = []
    for drawn in range(1, num + 1):
        split = max(counts, key=lambda name: shares[name] / total * drawn - counts[name])
        counts[split] += 1
        names.append((split, counts[split]))
    return names


def _glas_case(split: str, number: int, seed: int) -> tuple[int, int, str]:
    """Patient, index and grade of a picture."""
    index = number * len(_GLAS_SPLIT) + list(_GLAS_SPLIT).index(split)
    rng = np.random.default_rng([seed, index])
    return int(rng.integers(1, _GLAS_PATIENTS + 1)), index, str(rng.choice(list(GRADES), p=_GLAS_GRADES))


def _glas_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``train_1.bmp`` and ``train_1_anno.bmp`` in one folder, 8-bit maps with 0 outside and 1..N the glands."""
    for split, number in _divide(num, _GLAS_SPLIT):
        patient, index, grade = _glas_case(split, number, seed)
        files = f'{split}_{number}.bmp', f'{split}_{number}_anno.bmp'
        yield files, partial(draw_glands, size, seed, patient, index, grade)


def _glas_tables(num: int, seed: int) -> dict[str, str]:
    text = io.StringIO()
    text.write(','.join(_GLAS_HEADER) + '\n')
    rows = csv.writer(text, lineterminator='\n')
    for split, number in sorted(_divide(num, _GLAS_SPLIT), key=lambda name: f'{name[0]}_{name[1]}'):
        patient, _, grade = _glas_case(split, number, seed)
        kind = 'benign' if grade in ('healthy', 'adenomatous') else 'malignant'
        rows.writerow([f'{split}_{number}', patient, f' {kind}', f' {grade}'])
    return {'Grade.csv': text.getvalue()}


def _draw_with_overlay(*args: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, truth = draw_glands(*args)
    inner = cv2.erode(truth, np.ones((7, 7), np.uint8))
    overlay = image.copy()
    overlay[(truth > 0) & (inner != truth)] = _OVERLAY
    return image, truth, overlay


def _crag_pictures(num: int, size: tuple[int, int], seed: int, suffix: str) -> Iterator[Plan]:
    """``train/Images/train_1.png``, and its 8-bit map and its picture with outlines in ``Annotation``, ``Overlay``."""
    for split, number in _divide(num, _CRAG_SPLIT):
        index = number * len(_CRAG_SPLIT) + list(_CRAG_SPLIT).index(split)
        rng = np.random.default_rng([seed, index])
        patient, grade = int(rng.choice(_CRAG_PATIENTS)), str(rng.choice(list(GRADES), p=_CRAG_GRADES))
        stem = f'train_{number}' if split == 'train' else f'test_{number}'
        files = f'Images/{stem}.png', f'Annotation/{stem}{suffix}', f'Overlay/{stem}.png'
        draw = partial(_draw_with_overlay, size, seed, patient, index, grade)
        yield tuple(f'{split}/{file}' for file in files), draw


def _bcss_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``images/TCGA-A7-Z000-DX1_xmin…_ymin…_MPP-0.2500.png``, and a map of codes of the same name in ``masks``.

    The first of every four patients has two regions. No real barcode has a participant that begins with Z.
    """
    for index in range(num):
        patient = index * 4 // 5
        x, y = np.random.default_rng([seed, index]).integers(1000, 90000, size=2)
        site = _BCSS_SITES[patient % len(_BCSS_SITES)]
        name = f'TCGA-{site}-Z{patient % 0x1000:03X}-DX1_xmin{x}_ymin{y}_MPP-0.2500.png'
        yield (f'images/{name}', f'masks/{name}'), partial(draw_region, size, seed, patient, index)


def _draw_outlines(*args: Any) -> tuple[Content, ...]:
    drawn = draw_nuclei(*args)
    return drawn.image, drawn.outlines


def _monuseg_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``…/Tissue Images/TCGA-38-Z802-01Z-00-DX1.tif`` and xml in ``…/Annotations``; for the test set, side by side.

    Each patient has one picture, and another barcode than those of the drawn BCSS.
    """
    for split, number in _divide(num, _MONUSEG_SPLIT):
        index = number * len(_MONUSEG_SPLIT) + list(_MONUSEG_SPLIT).index(split)
        stem = f'TCGA-{_MONUSEG_SITES[index % len(_MONUSEG_SITES)]}-Z{0x800 + index % 0x800:03X}-01Z-00-DX1'
        images, outlines = 'MoNuSegTestData', 'MoNuSegTestData'
        if split == 'train':
            images, outlines = (f'MoNuSeg 2018 Training Data/{name}' for name in ('Tissue Images', 'Annotations'))
        yield (f'{images}/{stem}.tif', f'{outlines}/{stem}.xml'), partial(_draw_outlines, size, seed, index, index)


def _draw_consep(*args: Any) -> tuple[Content, ...]:
    image, labels, types, outlines = draw_nuclei(*args)
    opaque = np.full((*labels.shape, 1), 255, np.uint8)
    overlay = cv2.polylines(image.copy(), [outline.astype(np.int32) for outline in outlines], True, _OVERLAY)
    code = np.concatenate([[0], types])
    arrays = dict(inst_map=labels, type_map=code[labels], inst_type=types[:, None])
    return np.concatenate([image, opaque], axis=2), arrays, overlay


def _consep_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``Train/Images/train_1.png`` with an alpha channel, ``Train/Labels/train_1.mat``, and ``Overlay``."""
    for split, number in _divide(num, _CONSEP_SPLIT):
        index = number * len(_CONSEP_SPLIT) + list(_CONSEP_SPLIT).index(split)
        patient = _CONSEP_PATIENTS[index % len(_CONSEP_PATIENTS)]
        stem = f'{split.lower()}_{number}'
        files = f'Images/{stem}.png', f'Labels/{stem}.mat', f'Overlay/{stem}.png'
        yield tuple(f'{split}/{file}' for file in files), partial(_draw_consep, size, seed, patient, index)


def _slide_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``slides/TCGA-05-ZC00-01Z-00-DX1.tif`` and ``truth/TCGA-05-ZC00-01Z-00-DX1.png``."""
    for index in range(num):
        patient, _, stem, label = slide_case(index)
        yield (f'slides/{stem}.tif', f'truth/{stem}.png'), partial(slide_files, size, seed, patient, index, label)


LAYOUTS = {
    'nct': Layout((224, 224), _nct_pictures, lambda num, seed: {}),
    'glas': Layout((775, 522), _glas_pictures, _glas_tables),
    'crag': Layout((1512, 1516), partial(_crag_pictures, suffix='.png'), lambda num, seed: {}),
    'crag-mat': Layout((1512, 1516), partial(_crag_pictures, suffix='.mat'), lambda num, seed: {}),
    'bcss': Layout((1800, 1500), _bcss_pictures, lambda num, seed: {}),
    'monuseg': Layout((1000, 1000), _monuseg_pictures, lambda num, seed: {}),
    'consep': Layout((1000, 1000), _consep_pictures, lambda num, seed: {}),
    'nct-val': Layout((224, 224), nct_val_pictures, lambda num, seed: {}),
    'bach': Layout((2048, 1536), bach_pictures, lambda num, seed: {}),
    'bach-wsi': Layout((4096, 4096), bach_slide_pictures, lambda num, seed: {}, _LARGEST_SLIDE),
    'breakhis': Layout((700, 460), breakhis_pictures, lambda num, seed: {}),
    'breakhis-82': Layout((700, 460), breakhis_82_pictures, lambda num, seed: {}),
    'lymphoma': Layout((1388, 1040), lymphoma_pictures, lambda num, seed: {}),
    'gleason2019': Layout((5120, 5120), gleason_pictures, lambda num, seed: {}),
    'digestpath2019': Layout((5000, 5000), digestpath_pictures, lambda num, seed: {}),
    'breastpathq': Layout((512, 512), breastpathq_pictures, breastpathq_tables),
    'ucsb': Layout((896, 768), ucsb_pictures, lambda num, seed: {}),
    'slides': Layout((2048, 2048), _slide_pictures, slide_tables, _LARGEST_SLIDE),
    'subtypes': Layout((2048, 2048), subtype_pictures, subtype_tables, _LARGEST_SLIDE),
}


def _write(path: Path, content: bytes | Writer) -> None:
    """Write a file so that it is either whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    if callable(content):
        content(part)
    else:
        part.write_bytes(content)
    os.replace(part, path)


def _claim(out: Path, recipe: _Recipe) -> None:
    """Take the folder for this recipe, or say why it cannot be taken."""
    wanted = json.dumps(asdict(recipe), sort_keys=True)
    marker = out / RECIPE
    if marker.is_file():
        found = marker.read_text().strip()
        if found != wanted:
            raise FileExistsError(f'{out} holds the drawn set {found}, not {wanted}; choose another folder')
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f'{out} is not empty and holds no drawn set; choose a new or empty folder')
    else:
        _write(marker, f'{wanted}\n'.encode())


def write_layout(
    name: str, out: str | Path, num: int, size: int | tuple[int, int] | None = None, seed: int = 0
) -> list[Path]:
    """Write a drawn data set in the on-disk layout of a real one.

    A folder that holds the same set (layout, size, seed) is completed: pictures already there stay as they are.

    Args:
        name: Key of :data:`LAYOUTS`: ``nct`` (nine class folders), ``glas`` (pictures, ``*_anno`` instance maps,
            ``Grade.csv``; train, test A and test B in the proportion 85:60:20), ``crag`` (``Images``, ``Annotation``
            and ``Overlay`` in each of train and valid, 173:40), ``crag-mat`` (the same with MATLAB instance maps),
            ``bcss`` (regions in ``images`` and maps of tissue codes in ``masks``, named by drawn barcodes of TCGA),
            ``monuseg`` (tif, and outlines of nuclei in xml; 37:14), ``consep`` (RGBA png, and MATLAB files with
            nuclei and their kinds; 27:14), or ``slides`` (pyramidal TIFF of 0.5 µm per pixel in ``slides``, their
            patients and labels in ``slides.csv``: normal, or tumor where there is any; which tissue lies where in
            ``truth``: PNG of the codes of ``tissues.csv``, a pixel for so many level-0 pixels as ``scale.txt`` says),
            or ``subtypes`` (likewise; LUAD and LUSC, which have the same tissues in other proportions, with months of
            survival and death or not in ``slides.csv``).
            ``nct-val``, ``bach``, ``bach-wsi``, ``breakhis`` (each place four times, at 40X to 400X), ``breakhis-82``
            (likewise, in as many patients' folders as BreakHis has), ``lymphoma``, ``gleason2019``,
            ``digestpath2019``, ``breastpathq`` and ``ucsb`` are as their converters read them.
        out: Folder, new, empty, or holding the same set with no more than ``num`` pictures.
        num: Number of pictures, at least 1.
        size: Side, or ``(width, height)``, in pixels; the layout's own if None.
        seed: Seed of the set, not negative.

    Returns:
        Paths of the pictures, without annotations.

    Raises:
        ValueError: Unknown layout, or impossible number, size or seed.
        FileExistsError: The folder holds something else.
    """
    if name not in LAYOUTS:
        raise ValueError(f'layout is {name!r}, expected one of {", ".join(LAYOUTS)}')
    if num < 1 or seed < 0:
        raise ValueError(f'num is {num} and seed is {seed}, expected num >= 1 and seed >= 0')
    layout, out = LAYOUTS[name], Path(out)
    size = check_size(layout.size if size is None else size, layout.largest)
    _claim(out, _Recipe(name, size, seed))
    plans = list(layout.pictures(num, size, seed))
    pictures = [out / paths[0] for paths, _ in plans]
    surplus = set(out.rglob(f'*{pictures[0].suffix}')) - {out / path for paths, _ in plans for path in paths}
    if surplus:
        raise FileExistsError(
            f'{out} holds {len(surplus)} files beyond those of the {num} pictures asked for; choose another folder'
        )
    for paths, draw in plans:
        if all((out / path).is_file() for path in paths):
            continue
        for path, content in zip(paths, draw(), strict=True):
            _write(out / path, content if callable(content) else encode(path, content))
    for path, text in layout.tables(num, seed).items():
        _write(out / path, text.encode())
    return pictures
