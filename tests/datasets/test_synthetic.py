import csv
import io
import math
import os
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from scipy import ndimage
from skimage.color import rgb2hed

from histomm.datasets.synthetic import GRADES, LAYOUTS, TISSUES, draw_glands, draw_patch, write_layout
from histomm.datasets.synthetic.glands import place_glands
from histomm.datasets.synthetic.nuclei import MARGIN
from histomm.datasets.synthetic.stain import Stain, absorb, draw_stain

NCT_CLASSES = ['ADI', 'BACK', 'DEB', 'LYM', 'MUC', 'MUS', 'NORM', 'STR', 'TUM']
GLAS_HEADER = 'name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)'


@pytest.fixture(scope='module')
def fields():
    """One field of glands of each grade with its truth."""
    return {grade: draw_glands((400, 300), 3, i, i, grade) for i, grade in enumerate(GRADES)}


@pytest.fixture(scope='module')
def glas(tmp_path_factory):
    out = tmp_path_factory.mktemp('drawn') / 'glas'
    return out, write_layout('glas', out, 8, (160, 128), 5)


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


class TestStain:
    def test_absorption_is_beer_lambert(self):
        stain = Stain(
            vectors=np.array([[0.6, 0.8, 0.0], [0.0, 0.6, 0.8]]),
            strength=np.array([2.0, 1.0]),
            light=np.array([240.0, 200.0, 100.0]),
            blur=0.5,
            noise=0.0,
        )
        density = np.array([[[0.5, 0.25], [0.0, 0.0]]], np.float32)
        # By hand: R 0.6*2*0.5 = 0.6; G 0.8*2*0.5 + 0.6*0.25 = 0.95; B 0.8*0.25 = 0.2.
        stained = [240 * math.exp(-0.6), 200 * math.exp(-0.95), 100 * math.exp(-0.2)]
        np.testing.assert_allclose(absorb(density, stain)[0], [stained, [240, 200, 100]], rtol=1e-5)

    def test_patients_differ_and_stay_haematoxylin_and_eosin(self):
        stains = [draw_stain(np.random.default_rng(i)) for i in range(50)]
        vectors = np.stack([s.vectors for s in stains])
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, rtol=1e-6)
        assert (vectors[:, 0, 0] > vectors[:, 1, 0] + 0.15).all(), 'haematoxylin takes more red than eosin'
        assert (vectors[:, 1, 1] > vectors[:, 0, 1]).all(), 'eosin takes more green than haematoxylin'
        assert np.stack([s.strength for s in stains]).std(axis=0).min() > 0.1
        assert np.stack([s.light for s in stains]).std(axis=0).min() > 1

    def test_a_patient_keeps_its_glass(self):
        glass = [[draw_patch('BACK', 64, 0, p, i).mean(axis=(0, 1)) for i in range(4)] for p in range(6)]
        within = np.std(glass, axis=1).mean()
        between = np.std(np.mean(glass, axis=1), axis=0).mean()
        assert between > within


class TestPatch:
    def test_names_are_those_of_nct(self):
        assert list(TISSUES) == NCT_CLASSES

    @pytest.mark.parametrize('tissue', NCT_CLASSES)
    def test_same_arguments_same_bytes(self, tissue):
        first = draw_patch(tissue, (96, 64), 1, 2, 3)
        assert first.shape == (64, 96, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, draw_patch(tissue, (96, 64), 1, 2, 3))
        for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)]:
            assert not np.array_equal(first, draw_patch(tissue, (96, 64), *other))

    def test_tissues_have_their_stain(self):
        hed = {t: np.mean([rgb2hed(draw_patch(t, 128, 0, i, i)).mean((0, 1)) for i in range(6)], 0) for t in TISSUES}
        haem, eosin = ({t: v[k] for t, v in hed.items()} for k in (0, 1))
        assert max(haem, key=haem.get) == 'LYM'
        assert min(haem, key=haem.get) in ('ADI', 'BACK')
        assert min(eosin, key=eosin.get) == 'BACK'
        assert eosin['MUS'] > eosin['STR'] > eosin['MUC'] > eosin['ADI']

    def test_no_part_is_of_one_colour(self):
        for tissue in TISSUES:
            image = draw_patch(tissue, 128, 0, 1, 1).astype(np.float32)
            tiles = image.reshape(16, 8, 16, 8, 3).std(axis=(1, 3))
            assert tiles.min() > 0.4, tissue

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match=r"tissue is 'XXX', expected one of ADI, .*TUM"):
            draw_patch('XXX')
        with pytest.raises(ValueError, match='size is 8'):
            draw_patch('TUM', 8)
        with pytest.raises(ValueError, match=r'size is \(64, 64\.5\)'):
            draw_patch('TUM', (64, 64.5))
        with pytest.raises(ValueError, match=r"grade is 'bad', expected one of healthy"):
            draw_glands(64, grade='bad')


class TestGlands:
    @pytest.mark.parametrize('grade', GRADES)
    def test_instances_are_numbered_and_of_one_piece(self, fields, grade):
        _, truth = fields[grade]
        ids = np.unique(truth)
        assert truth.dtype == np.uint8
        assert len(ids) >= 2
        assert ids.tolist() == list(range(len(ids)))
        for label in ids[1:]:
            _, pieces = ndimage.label(truth == label, structure=np.ones((3, 3)))
            assert pieces == 1
            assert np.array_equal(ndimage.binary_fill_holes(truth == label), truth == label), 'lumen is covered'

    @pytest.mark.parametrize('grade', GRADES)
    def test_truth_lies_on_the_picture(self, fields, grade):
        """Just inside the outline are the basal nuclei; just outside there is stroma or a cleft."""
        image, truth = fields[grade]
        haem = rgb2hed(image)[..., 0]

        def step(mask):
            depth = ndimage.distance_transform_edt(mask)
            away = ndimage.distance_transform_edt(~mask)
            return haem[(depth > 3) & (depth < 14)].mean() - haem[(away > 1) & (away < 6)].mean()

        exact = step(truth > 0)
        assert exact > 0.01
        for shift in [(12, 0), (0, -12)]:
            moved = np.roll(truth > 0, shift, axis=(0, 1))
            assert step(moved) < 0.8 * exact

    def test_lumen_is_bright_and_inside(self):
        deep, ring = [], []
        for index in range(4):
            image, truth = draw_glands((400, 300), 3, 1, index, 'adenomatous')
            depth = ndimage.distance_transform_edt(np.pad(truth > 0, 1, mode='edge'))[1:-1, 1:-1]
            deep.append(image[depth > 42].min(axis=-1))
            ring.append(image[(depth > 4) & (depth < 16)].min(axis=-1))
        assert (np.concatenate(deep) > 180).mean() > 0.5
        assert (np.concatenate(ring) > 180).mean() < 0.05

    def test_some_glands_touch_and_some_are_cut(self):
        touching = cut = 0
        for seed in range(6):
            labels = place_glands(np.random.default_rng(seed), (420, 520), GRADES['poorly differentiated'])
            pairs = np.stack([labels[:, 1:], labels[:, :-1]])
            touching += np.any((pairs > 0).all(axis=0) & (pairs[0] != pairs[1]))
            view = labels[MARGIN:-MARGIN, MARGIN:-MARGIN]
            cut += np.any(view[0] > 0)
        assert touching >= 3
        assert cut >= 3

    def test_only_visible_pieces_of_some_size(self, fields):
        for _, truth in fields.values():
            assert np.bincount(truth.ravel())[1:].min() >= 250

    def test_malignant_outlines_are_less_round(self):
        def solidity(grade):
            values = []
            for index in range(3):
                truth = draw_glands((400, 300), 0, 0, index, grade)[1]
                for label in range(1, truth.max() + 1):
                    mask = (truth == label).astype(np.uint8)
                    outline = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0]
                    values.append(cv2.contourArea(outline) / max(cv2.contourArea(cv2.convexHull(outline)), 1))
            return np.mean(values)

        assert solidity('healthy') > solidity('poorly differentiated') + 0.02

    def test_colours_lie_among_real_ones(self, real_data):
        files = sorted((real_data / 'glas/Warwick_QU_Dataset').glob('train_*.png'))
        real = np.array([cv2.imread(str(f)).mean((0, 1))[::-1] for f in files if '_anno' not in f.name])
        drawn = np.array([draw_glands((400, 300), 0, i, i, g)[0].mean((0, 1)) for i, g in enumerate(GRADES)])
        assert (drawn > real.min(axis=0) - 8).all()
        assert (drawn < real.max(axis=0) + 8).all()
        assert np.abs(drawn.mean(axis=0) - real.mean(axis=0)).max() < 30


class TestNct:
    def test_layout_and_counts(self, tmp_path):
        pictures = write_layout('nct', tmp_path / 'nct', 20, 64, 0)
        found = sorted((tmp_path / 'nct').rglob('*.tif'))
        assert found == sorted(pictures)
        counts = Counter(path.parent.name for path in found)
        assert sorted(counts) == NCT_CLASSES
        assert sorted(counts.values()) == [2] * 7 + [3] * 2
        assert (tmp_path / 'nct/ADI/ADI-0002.tif').is_file()
        image = cv2.imread(str(tmp_path / 'nct/TUM/TUM-0001.tif'), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(image[..., ::-1], draw_patch('TUM', 64, 0, 1, 1))

    def test_default_size(self):
        assert LAYOUTS['nct'].size == (224, 224)

    def test_a_file_does_not_depend_on_the_count(self, tmp_path):
        write_layout('nct', tmp_path / 'few', 9, 48, 7)
        write_layout('nct', tmp_path / 'many', 18, 48, 7)
        few, many = contents(tmp_path / 'few'), contents(tmp_path / 'many')
        assert len(few) == 10
        assert few.items() <= many.items()


class TestGlas:
    def test_files(self, glas):
        out, pictures = glas
        names = sorted(p.name for p in out.iterdir())
        stems = ['testA_1', 'testA_2', 'testA_3', 'testB_1', 'train_1', 'train_2', 'train_3', 'train_4']
        assert sorted(p.stem for p in pictures) == stems
        expected = [f'{s}{end}.bmp' for s in stems for end in ('', '_anno')] + ['Grade.csv', 'synthetic.json']
        assert names == sorted(expected)
        for stem in stems:
            image = cv2.imread(str(out / f'{stem}.bmp'), cv2.IMREAD_UNCHANGED)
            truth = cv2.imread(str(out / f'{stem}_anno.bmp'), cv2.IMREAD_UNCHANGED)
            assert image.shape == (128, 160, 3)
            assert truth.shape == (128, 160)
            assert truth.dtype == np.uint8
            assert truth.max() >= 1

    def test_grades(self, glas):
        out, pictures = glas
        text = (out / 'Grade.csv').read_text()
        assert text.splitlines()[0] == GLAS_HEADER
        rows = list(csv.reader(text.splitlines()))[1:]
        assert [row[0] for row in rows] == sorted(p.stem for p in pictures)
        for _, patient, kind, grade in rows:
            assert 1 <= int(patient) <= 16
            benign = grade in (' healthy', ' adenomatous')
            assert kind == (' benign' if benign else ' malignant')
            assert grade[1:] in GRADES

    def test_grades_are_written_as_in_the_real_set(self, real_data):
        lines = (real_data / 'glas/Warwick_QU_Dataset/Grade.csv').read_text().splitlines()
        assert lines[0] == GLAS_HEADER
        assert {line.split(', ')[-1] for line in lines[1:]} == set(GRADES)

    def test_split_is_that_of_the_challenge(self):
        counts = Counter(paths[0].split('_')[0] for paths, _ in LAYOUTS['glas'].pictures(165, (775, 522), 0))
        assert counts == {'train': 85, 'testA': 60, 'testB': 20}

    def test_a_file_does_not_depend_on_the_count(self, glas, tmp_path):
        write_layout('glas', tmp_path / 'few', 3, (160, 128), 5)
        few, many = contents(tmp_path / 'few'), contents(glas[0])
        few.pop(next(path for path in few if path.name == 'Grade.csv'))
        assert len(few) == 7
        assert few.items() <= many.items()

    def test_an_interrupted_set_is_completed(self, tmp_path):
        write_layout('glas', tmp_path / 'set', 3, 64, 0)
        before = contents(tmp_path / 'set')
        (tmp_path / 'set/train_1_anno.bmp').unlink()
        write_layout('glas', tmp_path / 'set', 3, 64, 0)
        assert contents(tmp_path / 'set') == before


class TestCrag:
    def test_files(self, tmp_path):
        pictures = write_layout('crag', tmp_path, 6, (160, 128), 5)
        stems = {'train': [f'train_{i}' for i in range(1, 6)], 'valid': ['test_1']}
        folders = ('Images', 'Annotation', 'Overlay')
        expected = {f'{s}/{folder}/{stem}.png' for s in stems for folder in folders for stem in stems[s]}
        assert {str(path) for path in contents(tmp_path)} == {str(Path(p)) for p in expected} | {'synthetic.json'}
        assert sorted(pictures) == sorted(tmp_path / p for p in expected if 'Images' in p)
        for path in pictures:
            image, truth, overlay = (
                cv2.imread(str(path).replace('Images', folder), cv2.IMREAD_UNCHANGED) for folder in folders
            )
            assert image.shape == overlay.shape == (128, 160, 3)
            assert truth.shape == (128, 160)
            assert np.unique(truth).tolist() == list(range(truth.max() + 1))
            changed = (overlay != image).any(axis=-1)
            assert changed.any()
            assert not changed[truth == 0].any(), 'outlines lie inside the glands'
            depth = ndimage.distance_transform_edt(np.pad(truth > 0, 1, mode='edge'))[1:-1, 1:-1]
            assert not changed[(depth > 6) & (ndimage.minimum_filter(truth, 9) == truth)].any()

    def test_matlab_maps_are_the_same_maps(self, tmp_path):
        drawn = [contents(tmp_path / name) for name in ('crag', 'crag-mat', 'again') if self._write(tmp_path, name)]
        png, mat, again = ({str(path): content for path, content in files.items()} for files in drawn)
        assert mat == again
        for path, content in png.items():
            if 'Annotation' in path:
                stored = scipy.io.loadmat(io.BytesIO(mat[path.replace('.png', '.mat')]))
                truth = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
                assert stored['inst_map'].dtype == np.float64
                assert np.array_equal(stored['inst_map'], truth)
            elif path != 'synthetic.json':
                assert mat[path] == content

    @staticmethod
    def _write(root, name):
        return write_layout('crag' if name == 'crag' else 'crag-mat', root / name, 2, 64, 0)

    def test_split_and_size_are_those_of_the_data_set(self):
        assert LAYOUTS['crag'].size == (1512, 1516)
        counts = Counter(paths[0].split('_')[0] for paths, _ in LAYOUTS['crag'].pictures(213, (1512, 1516), 0))
        assert counts == {'train/Images/train': 173, 'valid/Images/test': 40}

    def test_no_picture_is_one_of_the_drawn_glas(self):
        cases = [{draw.args for _, draw in LAYOUTS[name].pictures(40, (64, 64), 0)} for name in ('glas', 'crag')]
        assert not cases[0] & cases[1]


class TestBadFolders:
    def test_unknown_layout_lists_the_known(self, tmp_path):
        with pytest.raises(ValueError, match="layout is 'xyz', expected one of nct, glas"):
            write_layout('xyz', tmp_path, 3)

    @pytest.mark.parametrize(('num', 'seed'), [(0, 0), (3, -1)])
    def test_number_and_seed(self, tmp_path, num, seed):
        with pytest.raises(ValueError, match='expected num >= 1 and seed >= 0'):
            write_layout('nct', tmp_path, num, 32, seed)

    def test_foreign_files_are_left_alone(self, tmp_path):
        (tmp_path / 'mine.txt').write_text('x')
        with pytest.raises(FileExistsError, match='not empty'):
            write_layout('nct', tmp_path, 1, 32)
        assert [p.name for p in tmp_path.iterdir()] == ['mine.txt']

    @pytest.mark.parametrize(
        ('name', 'num', 'size', 'seed'),
        [('glas', 9, 32, 0), ('crag', 9, 32, 0), ('nct', 9, 40, 0), ('nct', 9, 32, 1), ('nct', 8, 32, 0)],
    )
    def test_another_set_is_left_alone(self, tmp_path, name, num, size, seed):
        write_layout('nct', tmp_path, 9, 32, 0)
        before = contents(tmp_path)
        with pytest.raises(FileExistsError, match='choose another folder'):
            write_layout(name, tmp_path, num, size, seed)
        assert contents(tmp_path) == before


class TestTool:
    def run(self, repo, *arguments):
        command = [sys.executable, str(repo / 'tools/make_synthetic.py'), *map(str, arguments)]
        return subprocess.run(
            command, cwd=repo, env={**os.environ, 'PYTHONPATH': str(repo)}, capture_output=True, text=True
        )

    def test_writes(self, repo, tmp_path):
        done = self.run(repo, '--layout', 'nct', '--out', tmp_path / 'a', '--num', 9, '--size', '48x40', '--seed', 7)
        assert done.returncode == 0, done.stderr
        image = cv2.imread(str(tmp_path / 'a/LYM/LYM-0000.tif'))[..., ::-1]
        assert np.array_equal(image, draw_patch('LYM', (48, 40), 7, 0, 0))

    def test_says_what_is_wrong(self, repo, tmp_path, capsys):
        main = runpy.run_path(str(repo / 'tools/make_synthetic.py'))['main']
        arguments = ['--out', str(tmp_path / 'a'), '--num', '9']
        with pytest.raises(SystemExit, match="make_synthetic: layout is 'xyz', expected one of nct, glas"):
            main(['--layout', 'xyz', *arguments])
        with pytest.raises(SystemExit):
            main(['--layout', 'nct', '--size', 'big', *arguments])
        assert 'expected S or WxH' in capsys.readouterr().err
        assert not (tmp_path / 'a').exists()
