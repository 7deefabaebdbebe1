import csv
import tracemalloc

import cv2
import numpy as np
import openslide
import pytest
from skimage.color import rgb2hed
from tool_modules import load_tool

from histomm.datasets.patients import tcga_participant
from histomm.datasets.synthetic import SLIDE_CLASSES, SLIDE_TISSUES, TISSUES, plan_slide, write_layout
from histomm.datasets.synthetic.pyramid import level_sizes, write_pyramid
from histomm.wsi.reader import open_slide


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp('drawn') / 'slides'
    return out, write_layout('slides', out, 3, (1100, 900), 5)


def read_csv(path):
    with open(path, encoding='utf-8') as file:
        return list(csv.DictReader(file))


class TestPyramid:
    def test_levels_are_halves_that_openslide_opens(self, tmp_path):
        image = cv2.resize(np.random.default_rng(0).integers(0, 256, (9, 15, 3), np.uint8), (1501, 903))
        asked = []

        def render(x, y, width, height):
            asked.append((x, y, width, height))
            return image[y : y + height, x : x + width]

        write_pyramid(tmp_path / 'slide.tif', (1501, 903), render, 0.25, 'test')
        slide = openslide.OpenSlide(str(tmp_path / 'slide.tif'))
        assert slide.level_dimensions == ((1501, 903), (750, 451), (375, 225))
        assert float(slide.properties['openslide.mpp-x']) == pytest.approx(0.25, rel=1e-4)
        assert len(asked) == 6 * 4
        for level, size in enumerate(slide.level_dimensions):
            stored = np.asarray(slide.read_region((0, 0), level, size).convert('RGB')).astype(int)
            cut = image[: size[1] << level, : size[0] << level]
            assert np.abs(stored - cv2.resize(cut, size, interpolation=cv2.INTER_AREA)).mean() < 2

    def test_level_sizes(self):
        assert level_sizes((512, 300)) == [(512, 300)]
        assert level_sizes((4097, 3)) == [(4097, 3), (2048, 1), (1024, 1), (512, 1)]

    def test_memory_does_not_grow_with_the_slide(self, tmp_path):
        """Of 48 MB that level 0 has, and 16 MB of the others, only tiles are in memory at a time."""
        white = np.full((256, 256, 3), 255, np.uint8)
        tracemalloc.start()
        try:
            write_pyramid(tmp_path / 'x.tif', (4000, 4000), lambda x, y, w, h: white[:h, :w], 0.5, 'white')
            assert tracemalloc.get_traced_memory()[1] < 4e6
        finally:
            tracemalloc.stop()


class TestSlides:
    def test_layout(self, drawn):
        out, paths = drawn
        rows = read_csv(out / 'slides.csv')
        assert [path.name for path in paths] == [row['slide'] for row in rows]
        assert [row['label'] for row in rows] == ['normal', 'normal', 'tumor']
        assert [row['patient'] for row in rows] == [tcga_participant(row['slide']) for row in rows]
        assert len({row['patient'] for row in rows}) == 2
        assert set(SLIDE_CLASSES) == {row['label'] for row in rows}
        tissues = read_csv(out / 'truth/tissues.csv')
        assert [row['tissue'] for row in tissues] == list(SLIDE_TISSUES)
        assert [row['code'] for row in tissues] == [str(code) for code in range(9)]
        assert set(SLIDE_TISSUES) == set(TISSUES)
        for path in paths:
            slide = open_slide(path)
            assert (slide.size, slide.mpp) == ((1100, 900), pytest.approx(0.5, rel=1e-4))
            truth = cv2.imread(str(out / 'truth' / f'{path.stem}.png'), cv2.IMREAD_UNCHANGED)
            assert truth.shape == (57, 69)
            assert (out / 'truth/scale.txt').read_text() == '16\n'

    def test_equal_arguments_equal_bytes_however_many(self, drawn, tmp_path):
        paths = drawn[1]
        again = write_layout('slides', tmp_path / 'again', 1, (1100, 900), 5)
        assert again[0].read_bytes() == paths[0].read_bytes()
        other = write_layout('slides', tmp_path / 'other', 1, (1100, 900), 6)
        assert other[0].read_bytes() != paths[0].read_bytes()

    def test_tumour_is_on_slides_of_that_label_alone(self):
        tumour = SLIDE_TISSUES.index('TUM')
        for index in range(6):
            shares = {label: plan_slide((2048, 2048), 0, index, label).truth() for label in SLIDE_CLASSES}
            assert not (shares['normal'] == tumour).any()
            assert (shares['tumor'] == tumour).sum() / (shares['tumor'] > 0).sum() > 0.1

    def test_slides_hold_several_pieces_and_tissues_on_glass(self):
        for index in range(4):
            truth = plan_slide((2048, 1600), 1, index, 'tumor').truth()
            _, _, stats, _ = cv2.connectedComponentsWithStats((truth > 0).astype(np.uint8))
            assert (stats[1:, cv2.CC_STAT_AREA] > 200).sum() >= 2
            assert 0.15 < (truth > 0).mean() < 0.85
            assert len(np.unique(truth)) >= 4

    def test_truth_lies_on_the_picture(self, drawn):
        """Glass is bright and free of stain; a truth moved by some cells fits worse."""
        out, paths = drawn
        for path in paths:
            truth = cv2.imread(str(out / 'truth' / f'{path.stem}.png'), cv2.IMREAD_UNCHANGED)
            picture = open_slide(path).read(0, 0, 69, 57, 8.0)
            eosin = rgb2hed(picture)[..., 1:2].mean(-1) + rgb2hed(picture)[..., 0]
            glass = (truth == 0) & (np.arange(69) < 68)
            stained = np.isin(truth, [SLIDE_TISSUES.index(name) for name in ('NORM', 'STR', 'MUS', 'LYM', 'TUM')])
            exact = eosin[stained].mean() - eosin[glass].mean()
            assert exact > 0.03
            for shift in [(8, 0), (0, -8)]:
                moved = np.roll(truth, shift, axis=(0, 1))
                kept = np.isin(moved, np.unique(truth[stained]))
                assert eosin[kept].mean() - eosin[moved == 0].mean() < 0.85 * exact

    def test_any_part_is_painted_alike(self):
        """A region asked for in other parts has the same pixels."""
        from histomm.datasets.synthetic import SlidePainter

        painter = SlidePainter(plan_slide((700, 600), 0, 0, 'tumor'), 0, 0, 0)
        whole = painter(0, 0, 700, 600)
        for x, y, width, height in [(0, 0, 256, 256), (256, 256, 256, 256), (512, 512, 188, 88), (16, 480, 300, 120)]:
            part = painter(x, y, width, height)
            assert np.abs(part.astype(int) - whole[y : y + height, x : x + width]).max() <= 1

    def test_sizes(self, tmp_path):
        with pytest.raises(ValueError, match='size is 300000, expected sides of 32 to 262144 whole pixels'):
            write_layout('slides', tmp_path / 'large', 1, 300000)
        with pytest.raises(ValueError, match='size is 9000, expected sides of 32 to 8192'):
            write_layout('nct', tmp_path / 'nct', 1, 9000)
        paths = write_layout('slides', tmp_path / 'small', 2, 64)
        assert open_slide(paths[0]).size == (64, 64)

    def test_tool(self, tmp_path, capsys):
        tool = load_tool('tools/make_synthetic.py')
        tool.main(['--layout', 'slides', '--out', str(tmp_path / 'out'), '--num', '1', '--size', '300x200'])
        assert '1 pictures in' in capsys.readouterr().out
        assert open_slide(next((tmp_path / 'out/slides').iterdir())).size == (300, 200)
