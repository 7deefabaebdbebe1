"""Pictures of one class each, and slides with outlines of classes: BACH, UCSB, lymphoma, CRC-VAL-HE-7K."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from .encoding import Content
from .magnifications import draw_magnifications
from .slides import CELL, SLIDE_TISSUES, plan_slide, slide_files
from .tissue import TISSUES, draw_patch

Plan = tuple[tuple[str, ...], Callable[[], tuple[Content | Callable[[Path], None], ...]]]

_BACH = {'Benign': ('b', 'NORM'), 'InSitu': ('is', 'LYM'), 'Invasive': ('iv', 'TUM'), 'Normal': ('n', 'STR')}
_UCSB = {'benign': 'NORM', 'malignant': 'TUM'}
_UCSB_ARRAYS = 90  # first number, beyond those of the real arrays
_LYMPHOMA = {'CLL': 'LYM', 'FL': 'NORM', 'MCL': 'TUM'}
_OUTLINED = {
    'NORM': 'Benign',
    'MUS': 'Carcinoma in situ',
    'LYM': 'Carcinoma in situ',
    'TUM': 'Invasive carcinoma',
    'DEB': 'Invasive carcinoma',
}
"""Classes that are outlined on slides of BACH, for the tissues that are drawn for them."""
_VAL_PATIENTS = range(500, 550)
_VAL_FIRST = 500000  # other numbers than those of the pictures of NCT-CRC-HE-100K


def _one(*args: object) -> tuple[np.ndarray]:
    return (draw_patch(*args),)


def bach_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``Photos/Benign/b001.tif``, ``InSitu/is001.tif``, ``Invasive/iv001.tif`` and ``Normal/n001.tif`` in turn."""
    for index in range(num):
        number, which = divmod(index, len(_BACH))
        folder, (letters, tissue) = list(_BACH.items())[which]
        file = f'Photos/{folder}/{letters}{number + 1:03d}.tif'
        yield (file,), partial(_one, tissue, size, seed, index, number)


def ucsb_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``ytma90_010104_benign1_ccd.tif`` and malignant ones in turn at 40x, three of each from a microarray."""
    for index in range(num):
        number, which = divmod(index, len(_UCSB))
        label, tissue = list(_UCSB.items())[which]
        array, place = divmod(number, 3)
        file = f'ytma{_UCSB_ARRAYS + array}_010104_{label}{place + 1}_ccd.tif'
        yield (file,), partial(draw_magnifications, tissue, size, seed, array, index, (2.0,))


def lymphoma_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``CLL/sj-03-9000_001.tif``, two pictures of each case."""
    for index in range(num):
        number, which = divmod(index, len(_LYMPHOMA))
        folder, tissue = list(_LYMPHOMA.items())[which]
        case, place = divmod(number, 2)
        file = f'{folder}/sj-{3 + which:02d}-{9000 + case}_{place + 1:03d}.tif'
        yield (file,), partial(_one, tissue, size, seed, 3 * case + which, number)


def nct_val_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``<CLASS>/<CLASS>-TCGA-XXXXXX.tif`` of other patients than those of NCT-CRC-HE-100K."""
    for index in range(num):
        number, which = divmod(index, len(TISSUES))
        tissue = list(TISSUES)[which]
        patient = _VAL_PATIENTS[number % len(_VAL_PATIENTS)]
        file = f'{tissue}/{tissue}-TCGA-{_VAL_FIRST + number}.tif'
        yield (file,), partial(_one, tissue, size, seed, patient, _VAL_FIRST + number)


def slide_outlines(size: tuple[int, int], seed: int, index: int) -> list[tuple[str, np.ndarray]]:
    """Classes and outlines of a slide, ``(n, 2)`` x and y in level-0 pixels, the largest first.

    Outlines run through the outermost pixels of a piece; what lies in a hole of it belongs to it too, unless it is
    outlined itself, and so comes later.
    """
    truth = plan_slide(size, seed, index, 'tumor').truth()
    found = []
    for name in sorted(set(_OUTLINED.values())):
        codes = [SLIDE_TISSUES.index(tissue) for tissue, other in _OUTLINED.items() if other == name]
        mask = np.isin(truth, codes).astype(np.uint8).repeat(CELL, axis=0).repeat(CELL, axis=1)
        outlines, _ = cv2.findContours(mask[: size[1], : size[0]], cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        found += [(name, outline[:, 0]) for outline in outlines]
    return sorted(found, key=lambda item: -cv2.contourArea(item[1]))


def _slide_with_xml(size: tuple[int, int], seed: int, index: int) -> tuple[Callable[[Path], None], Callable]:
    write, _ = slide_files(size, seed, index, index, 'tumor')
    regions = []
    for number, (name, outline) in enumerate(slide_outlines(size, seed, index), 1):
        vertices = ''.join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in outline.tolist())
        attribute = f'<Attributes><Attribute Name="" Id="0" Value="{name}"/></Attributes>'
        head = f'<Region Id="{number}" Type="0" Zoom="1" NegativeROA="0" Text="" DisplayId="{number}">'
        regions.append(f'{head}{attribute}<Vertices>{vertices}</Vertices></Region>\n')
    layer = '<Annotation Id="1" Name="" ReadOnly="0" Type="4" LineColor="65280" Visible="1">'
    text = f'<Annotations MicronsPerPixel="0.500000">{layer}<Regions>\n{"".join(regions)}</Regions></Annotation>'
    return write, lambda path: Path(path).write_text(f'{text}</Annotations>\n')


def bach_slide_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``WSI/A01.svs`` and ``WSI/A01.xml``: outlines of Aperio ImageScope, with the class as an attribute."""
    for index in range(num):
        yield (
            (f'WSI/A{index + 1:02d}.svs', f'WSI/A{index + 1:02d}.xml'),
            partial(_slide_with_xml, size, seed, index),
        )
