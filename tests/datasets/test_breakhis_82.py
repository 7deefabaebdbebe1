"""The drawn BreakHis of 82 folders: as many of each subtype as in the real one, with its odd names."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from histomm.datasets.breakhis import find_breakhis, parse_name
from histomm.datasets.synthetic import write_layout
from histomm.datasets.synthetic.magnifications import breakhis_82_pictures, draw_magnifications
from histomm.datasets.transforms import read_image

FOLDERS = {'A': 4, 'F': 10, 'PT': 3, 'TA': 7, 'DC': 38, 'LC': 5, 'MC': 9, 'PC': 6}


def test_folders_are_as_many_as_in_breakhis():
    found = defaultdict(list)
    for paths, _ in breakhis_82_pictures(164, (32, 32), 0):
        names = [parse_name(Path(path).name) for path in paths]
        assert [name.magnification for name in names] == [40, 100, 200, 400]
        assert len({name.folder for name in names}) == 1
        assert all(name.folder in path for name, path in zip(names, paths, strict=True))
        found[names[0].folder].append(names[0])
    assert Counter(names[0].subtype for names in found.values()) == FOLDERS
    assert all([name.sequence for name in names] == [1, 2] for names in found.values())
    patients = defaultdict(set)
    for folder, (name, _) in found.items():
        patients[name.patient].add(folder)
    shared = [sorted(folder.split('_')[2] for folder in folders) for folders in patients.values() if len(folders) > 1]
    assert shared == [['DC', 'LC']]
    names = [names[0] for names in found.values()]
    assert {name.case[:2] for name in names} == {'14', '15'}
    assert len({name.case for name in names}) < len(patients) == 81


def test_a_short_list_has_all_subtypes_and_pictures_are_of_one_place(tmp_path):
    write_layout('breakhis-82', tmp_path, 8, (40, 32), seed=3)
    found = find_breakhis(tmp_path)
    assert Counter(name.subtype for name in found.values()) == dict.fromkeys(FOLDERS, 4)
    write_layout('breakhis-82', tmp_path, 9, (40, 32), seed=3)
    ((path, name),) = ((p, n) for p, n in found.items() if (n.subtype, n.magnification) == ('DC', 200))
    drawn = draw_magnifications('TUM', (40, 32), 3, *_patient_and_index(name))
    np.testing.assert_array_equal(read_image(str(tmp_path / path)), drawn[2])


def _patient_and_index(name):
    index = int(name.case.split('-')[1]) - 95000
    return index, index
