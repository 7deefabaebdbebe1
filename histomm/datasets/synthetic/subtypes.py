"""Slides of two subtypes of one cancer: the same tissues in both, in other proportions, and how long patients lived.

No patch tells the subtype, since each tissue occurs in both; how much of a slide it covers does. Patients differ from
the mean of their subtype, and live the shorter, the more of their tissue is necrosis and the less is lymphocytes.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from .slides import painted, plan_mixture, slide_case, truth_tables

SUBTYPES = ('LUAD', 'LUSC')
"""Labels of the slides, in the order of their numbers."""

MIXTURES = {
    'LUAD': {'TUM': 0.18, 'MUC': 0.38, 'STR': 0.16, 'LYM': 0.10, 'NORM': 0.08, 'DEB': 0.10},
    'LUSC': {'TUM': 0.50, 'MUC': 0.06, 'STR': 0.16, 'LYM': 0.10, 'NORM': 0.08, 'DEB': 0.10},
}
"""Mean share of each tissue in the slides of a subtype."""

_SLIDE_STREAM, _PATIENT_STREAM = 21, 22
_SPACING = 8  # cells between the centres of regions of one tissue: 128 px
_CONCENTRATION = 60.0  # of patients' shares around the mean: a share of .38 has a deviation of .06, one of .1 of .04
_MONTHS, _FOLLOW_UP = 30.0, (12.0, 96.0)  # mean survival at no necrosis and no lymphocytes; end of the study
_HAZARD = {'DEB': 16.0, 'LYM': -16.0}  # log of the hazard for a slide all of it


def patient_shares(seed: int, patient: int, label: str) -> dict[str, float]:
    """Share of each tissue in the slides of a patient, drawn around those of the subtype."""
    rng = np.random.default_rng([_PATIENT_STREAM, seed, patient, 0])
    drawn = rng.dirichlet(_CONCENTRATION * np.array(list(MIXTURES[label].values())))
    return dict(zip(MIXTURES[label], drawn.tolist(), strict=True))


def patient_survival(seed: int, patient: int, label: str) -> tuple[float, int]:
    """Months until a patient's death, or until the last follow-up, and 1 for a death.

    Survival is exponential, with a hazard that necrosis raises and lymphocytes lower; follow-up is uniform.
    """
    shares, rng = patient_shares(seed, patient, label), np.random.default_rng([_PATIENT_STREAM, seed, patient, 1])
    hazard = np.exp(sum(weight * shares[tissue] for tissue, weight in _HAZARD.items())) / _MONTHS
    death, censored = rng.exponential(1 / hazard), rng.uniform(*_FOLLOW_UP)
    return round(float(min(death, censored)), 2), int(death <= censored)


def _case(index: int) -> tuple[int, str, str, str]:
    """Patient, barcode, file name without suffix, and subtype of a slide."""
    patient, barcode, stem, _ = slide_case(index)
    return patient, barcode, stem, SUBTYPES[patient % len(SUBTYPES)]


def _files(
    size: tuple[int, int], seed: int, patient: int, index: int, label: str
) -> tuple[Callable[[Path], None], np.ndarray]:
    """A slide as a function that writes it into a file, and its truth."""
    rng = np.random.default_rng([_SLIDE_STREAM, seed, index])
    plan = plan_mixture(rng, size, patient_shares(seed, patient, label), _SPACING)
    return painted(plan, size, seed, patient, index, label)


def subtype_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[tuple]:
    """``slides/TCGA-05-ZC00-01Z-00-DX1.tif`` and ``truth/TCGA-05-ZC00-01Z-00-DX1.png``."""
    for index in range(num):
        patient, _, stem, label = _case(index)
        yield (f'slides/{stem}.tif', f'truth/{stem}.png'), partial(_files, size, seed, patient, index, label)


def subtype_tables(num: int, seed: int) -> dict[str, str]:
    """``slides.csv`` with patient, label, and months of survival and death or not; and what belongs to the truth."""
    rows = ['slide,patient,label,time,event']
    for index in range(num):
        patient, barcode, stem, label = _case(index)
        time, event = patient_survival(seed, patient, label)
        rows.append(f'{stem}.tif,{barcode},{label},{time},{event}')
    return {'slides.csv': '\n'.join([*rows, '']), **truth_tables()}
