"""The command: pictures come out, also on the page, and bad input is told in one sentence."""

import numpy as np
import pytest
from PIL import Image
from tool_modules import load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/analysis/visualize_patch_contrast.py')


@pytest.fixture
def work_dir(tmp_path):
    folder = tmp_path / 'run/confidence'
    folder.mkdir(parents=True)
    Image.fromarray(np.full((30, 40, 3), 200, np.uint8)).save(folder / 'image.png')
    for epoch in (0, 5):
        confidence = np.full((2, 30, 40), 25 * epoch, np.uint8)
        confidence[1, :, :20] = 0
        np.savez_compressed(
            folder / f'epoch_{epoch:04d}.npz',
            confidence=confidence,
            mean=np.full((2, 12), 0.2),
            entropy=np.full((2, 12), 0.5),
            index=np.array([[0, 5], [11, 11]]),
            positive=np.array([[True, False], [True, True]]),
            size=np.array(10),
            stride=np.array(10),
        )
    return tmp_path / 'run'


def test_draws_all_pictures(tool, work_dir, tmp_path, capsys):
    labels = np.zeros((30, 40), np.uint8)
    labels[:10] = 1
    Image.fromarray(labels).save(tmp_path / 'labels.png')
    image = str(work_dir / 'confidence/image.png')
    maps = ['--labels', str(tmp_path / 'labels.png'), '--truth', str(tmp_path / 'labels.png')]
    tool.main([str(work_dir), '--image', image, *maps])
    assert 'class 1 moves' in capsys.readouterr().out
    for name in ('maps', 'spread', 'animation', 'errors'):
        with Image.open(work_dir / 'pictures' / f'{name}.png') as picture:
            assert min(picture.size) > 30
            assert getattr(picture, 'n_frames', 1) == (2 if name == 'animation' else 1)


def test_the_page_has_them(work_dir):
    report = load_tool('tools/analysis/report.py')
    page = report.Report('t')
    report.add_confidence(page, work_dir)
    text = page.html()
    assert 'Confidence over epochs' in text
    assert 'Animation of the confidence of class 1' in text
    assert text.count('<img ') == 3


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (['--channel', '7'], '--channel is 7, expected 0 to 1'),
        (['--image', 'a.png', '--labels', 'b.png', '--truth', 'c.png'], r'a\.png'),
    ],
)
def test_bad_input_is_told(tool, work_dir, extra, message):
    with pytest.raises(SystemExit, match=message):
        tool.main([str(work_dir), *extra])


def test_bad_options_are_told(tool, work_dir, tmp_path, capsys):
    for extra, message in (
        (['--image', 'a.png'], '--image, --labels and --truth go together'),
        (['--epochs', '0'], '--epochs is 0, expected 1 or more'),
    ):
        with pytest.raises(SystemExit):
            tool.parse_args([str(work_dir), *extra])
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match='found no records'):
        tool.main([str(tmp_path)])
