"""Drawn H&E tissue with exact truth, in the on-disk layouts of real data sets."""

from .cells import draw_nuclei
from .glands import GRADES
from .layouts import LAYOUTS, write_layout
from .magnifications import draw_magnifications
from .patchwork import draw_patchwork
from .regions import draw_region
from .slides import SLIDE_CLASSES, SLIDE_TISSUES, SlidePainter, plan_slide
from .subtypes import MIXTURES, SUBTYPES, patient_shares
from .tissue import TISSUES, draw_glands, draw_patch

__all__ = [
    'GRADES',
    'LAYOUTS',
    'MIXTURES',
    'SLIDE_CLASSES',
    'SLIDE_TISSUES',
    'SUBTYPES',
    'TISSUES',
    'SlidePainter',
    'draw_glands',
    'draw_magnifications',
    'draw_nuclei',
    'draw_patch',
    'draw_patchwork',
    'draw_region',
    'patient_shares',
    'plan_slide',
    'write_layout',
]
