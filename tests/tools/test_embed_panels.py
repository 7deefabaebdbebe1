"""A panel for each magnification: which rows it has, in which order, and where they lie."""

import numpy as np
import pytest
from feature_files import write_features
from PIL import Image
from sklearn.manifold import TSNE
from tool_modules import load_tool

RNG = np.random.default_rng(0)
MAGNIFICATIONS = (100, 400, 40, 200)
NAMES = [f'a/SOB_B_A-14-1-{MAGNIFICATIONS[row % 4]}-{row:03d}.png' for row in range(48)]
LABELS = np.arange(48) // 24
FEATURES = RNG.normal(0, 1, (48, 64)).astype(np.float32)


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/analysis/embed_features.py')


@pytest.fixture
def file(tmp_path):
    return write_features(tmp_path / 'f.h5', FEATURES, NAMES, labels=LABELS, classes=('benign', 'malignant'))


@pytest.fixture
def shown(tool, file, tmp_path, monkeypatch):
    """Draws, and gives what was drawn."""
    kept = []
    draw = tool.draw_embedding
    monkeypatch.setattr(tool, 'draw_embedding', lambda *args: kept.append((args[0], draw(*args))) or kept[-1][1])

    def run(*words):
        tool.main([str(file), *words, '--out', str(tmp_path / 'panels.png')])
        return kept[-1]

    return run


def test_each_magnification_is_laid_out_by_itself(shown, tmp_path, capsys):
    clouds, figure = shown('--panels', 'magnification', '--components', '0', '--neighbours', '3')
    assert [cloud.title for cloud in clouds] == ['40X: 12 rows', '100X: 12 rows', '200X: 12 rows', '400X: 12 rows']
    assert [axes.get_title('left') for axes in figure.axes] == [cloud.title for cloud in clouds]
    assert '48 of 48 rows in 4 panels' in capsys.readouterr().out
    for cloud, magnification in zip(clouds, (40, 100, 200, 400), strict=True):
        rows = [row for row, name in enumerate(NAMES) if f'-{magnification}-' in name]
        expected = TSNE(2, perplexity=3, init='pca', random_state=0).fit_transform(FEATURES[rows])
        np.testing.assert_allclose(cloud.places, expected, rtol=1e-4)
        assert cloud.labels.tolist() == LABELS[rows].tolist()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ['benign (24)', 'malignant (24)']
    with Image.open(tmp_path / 'panels.png') as picture:
        assert picture.width > 3 * picture.height


def test_panels_by_a_regular_expression_and_some_rows_of_each(shown):
    clouds, _ = shown('--panels', r'(\d)\.png$', '--method', 'pca', '--max', '3')
    assert [cloud.title for cloud in clouds] == [f'{digit}: 3 of {5 if digit < 8 else 4} rows' for digit in range(10)]


@pytest.mark.parametrize(
    ('rule', 'message'),
    [
        (r'-(\d+)\.png', 'has 1 rows, expected 3 or more; correct --panels'),
        ('none', '48 of 48 names have no group'),
        ('(', 'regular expression'),
    ],
)
def test_panels_that_cannot_be_are_refused(tool, file, tmp_path, rule, message):
    with pytest.raises(SystemExit, match=message):
        tool.main([str(file), f'--panels={rule}', '--out', str(tmp_path / 'e.png')])


def test_other_names_have_no_magnification(tool, tmp_path):
    path = write_features(tmp_path / 'o.h5', FEATURES[:3], ['a.png', 'b.png', 'c.png'])
    with pytest.raises(SystemExit, match=r'a\.png is no name of BreakHis'):
        tool.main([str(path), '--panels', 'magnification', '--out', str(tmp_path / 'e.png')])
