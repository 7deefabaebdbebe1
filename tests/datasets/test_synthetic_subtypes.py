"""Slides of two subtypes: same tissues, other proportions; patients who live as their tissue says."""

import csv

import cv2
import numpy as np
import pytest

from histomm.datasets.synthetic import LAYOUTS, MIXTURES, SLIDE_TISSUES, SUBTYPES, patient_shares, write_layout
from histomm.datasets.synthetic.subtypes import patient_survival


@pytest.fixture(scope='module')
def plans():
    """Truth of 40 slides of 2,048 px, none of them painted: codes (128, 128), and label."""
    found = []
    for (_, truth), draw in LAYOUTS['subtypes'].pictures(40, (2048, 2048), 0):
        found.append((truth, draw()[1], draw.args[-1]))
    return found


def shares(codes):
    """Share of each tissue in what is no glass."""
    counts = np.bincount(codes.ravel(), minlength=len(SLIDE_TISSUES)).astype(float)
    counts[0] = 0
    return dict(zip(SLIDE_TISSUES, counts / counts.sum(), strict=True))


def test_subtypes_differ_in_the_mixture_alone(plans):
    assert {label for _, _, label in plans} == set(SUBTYPES)
    mean = {}
    for label in SUBTYPES:
        found = [shares(codes) for _, codes, subtype in plans if subtype == label]
        mean[label] = {tissue: np.mean([one[tissue] for one in found]) for tissue in SLIDE_TISSUES}
        assert {tissue for tissue, share in mean[label].items() if share} == set(MIXTURES[label])
        for tissue, share in MIXTURES[label].items():
            assert mean[label][tissue] == pytest.approx(share, abs=0.04), (label, tissue)
    same = [tissue for tissue in MIXTURES['LUAD'] if MIXTURES['LUAD'][tissue] == MIXTURES['LUSC'][tissue]]
    assert len(same) == 4


def test_a_slide_tells_its_subtype_and_a_patch_does_not(plans):
    """Whether mucus or tumour is more, beside their shares in all, tells slides; the tissue of a patch does not."""
    right = [
        (shares(codes)['MUC'] / 0.22 > shares(codes)['TUM'] / 0.34) == (label == 'LUAD') for _, codes, label in plans
    ]
    assert np.mean(right) >= 0.95
    counts = np.array([[MIXTURES[label][tissue] for tissue in MIXTURES['LUAD']] for label in SUBTYPES])
    assert counts.max(axis=0).sum() / 2 == pytest.approx(0.66)  # what a patch whose tissue is known could tell


def test_files_and_tables(tmp_path):
    out = tmp_path / 'drawn'
    (first, *_) = write_layout('subtypes', out, 3, 256, seed=4)
    pixels = first.read_bytes()
    with open(out / 'slides.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['label'] for row in rows] == ['LUAD', 'LUAD', 'LUSC']
    assert rows[0]['patient'] == rows[1]['patient'] != rows[2]['patient']
    assert (rows[0]['time'], rows[0]['event']) == (rows[1]['time'], rows[1]['event'])
    for row in rows:
        assert (out / 'slides' / row['slide']).is_file()
        truth = cv2.imread(str(out / 'truth' / row['slide'].replace('.tif', '.png')), cv2.IMREAD_UNCHANGED)
        assert truth.shape == (16, 16)
    assert (out / 'truth/scale.txt').read_text() == '16\n'
    again = write_layout('subtypes', tmp_path / 'again', 1, 256, seed=4)
    assert again[0].read_bytes() == pixels


def test_survival_follows_the_tissue():
    """Of 600 patients whose end is known, those with much necrosis and few lymphocytes die earlier."""
    risk, times, events = [], [], []
    for patient in range(600):
        label = SUBTYPES[patient % 2]
        share = patient_shares(0, patient, label)
        time, event = patient_survival(0, patient, label)
        risk.append(share['DEB'] - share['LYM'])
        times.append(time)
        events.append(event)
    assert 0.3 < np.mean(events) < 0.9
    assert min(times) > 0
    known = np.array(events) == 1
    assert max(np.array(times)[~known]) <= 96
    pairs = [
        (risk[i] > risk[j]) == (times[i] < times[j])
        for i in np.flatnonzero(known)
        for j in range(600)
        if times[j] > times[i]
    ]
    assert np.mean(pairs) > 0.65
