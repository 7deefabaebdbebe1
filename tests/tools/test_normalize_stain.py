"""Images of a folder brought to one stain: what is written where, and statistics of whole images."""

import numpy as np
import pytest
from PIL import Image
from tool_modules import load_tool

from histomm.datasets.synthetic import draw_patch
from histomm.datasets.transforms import MacenkoNormalize, ReinhardNormalize
from histomm.datasets.transforms.loading import read_image
from histomm.datasets.transforms.stain_spaces import channel_statistics, to_space


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/dataset_converters/normalize_stain.py')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('stains')
    for number, path in enumerate(('a/b001.tif', 'a/is001.png', 'c/n001.jpg')):
        (root / path).parent.mkdir(exist_ok=True)
        Image.fromarray(draw_patch('NORM', 96, patient=number)).save(root / path)
    Image.fromarray(np.full((40, 40, 3), 244, np.uint8)).save(root / 'glass.bmp')
    (root / 'notes.txt').write_text('no image')
    return root


def run(tool, *arguments):
    return tool.main([str(argument) for argument in arguments])


def test_whole_images_get_the_published_statistics(tool, data, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run(tool, data, '--out', out) == 0
    assert f'{out}: 4 images, 1 of them with too little stained tissue, left as they are' in capsys.readouterr().out
    found = {str(path.relative_to(out)) for path in out.rglob('*') if path.is_file()}
    assert found == {'a/b001.tif', 'a/is001.png', 'c/n001.png', 'glass.bmp', 'conversion.json'}
    for path in ('a/b001.tif', 'a/is001.png'):
        image = read_image(str(out / path))
        np.testing.assert_array_equal(
            image, ReinhardNormalize().transform(dict(img=read_image(str(data / path))))['img']
        )
        mean, std = channel_statistics(to_space(image, 'lalphabeta'))
        # whole grey levels, and no more than 255
        np.testing.assert_allclose(mean, [8.741, -0.1244, 0.0445], atol=0.05)
        np.testing.assert_allclose(std, [0.6135, 0.1099, 0.0286], atol=0.08)
        left, right = (channel_statistics(to_space(half, 'lalphabeta'))[0] for half in np.split(image, 2, axis=1))
        assert np.abs(left - right).max() > 0.005, 'what parts of an image differ in stays'
    assert (read_image(str(out / 'glass.bmp')) == 244).all()
    assert run(tool, data, '--out', out) == 0
    assert 'holds these images already' in capsys.readouterr().out


def test_another_method_and_target(tool, data, tmp_path, capsys):
    target = data / 'a/is001.png'
    assert run(tool, data, '--out', tmp_path / 'out', '--method', 'macenko', '--target', target) == 0
    expected = MacenkoNormalize(str(target)).transform(dict(img=read_image(str(data / 'a/b001.tif'))))['img']
    np.testing.assert_array_equal(read_image(str(tmp_path / 'out/a/b001.tif')), expected)
    capsys.readouterr()
    assert run(tool, data, '--out', tmp_path / 'out') == 1
    assert 'normalize_stain: ' in (said := capsys.readouterr().err)
    assert 'holds what other data or options gave; choose a new or empty folder' in said


def test_a_stopped_run_goes_on(tool, data, tmp_path, monkeypatch):
    done, out = [], tmp_path / 'out'

    def stop_at_the_third(path):
        done.append(path)
        if len(done) == 3:
            raise KeyboardInterrupt
        return read_image(path)

    with monkeypatch.context() as patch:
        patch.setattr(tool, 'read_image', stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            run(tool, data, '--out', out)
    assert not out.exists()
    first = (tmp_path / 'out.partial/a/b001.tif').stat().st_mtime_ns
    assert run(tool, data, '--out', out) == 0
    assert (out / 'a/b001.tif').stat().st_mtime_ns == first
    assert len([path for path in out.rglob('*') if path.is_file()]) == 5


def test_what_does_not_fit_is_told(tool, data, tmp_path, capsys):
    cases = [
        ([tmp_path / 'none'], 'cannot be'),
        ([data, '--target', tmp_path / 'none.png'], 'none.png'),
    ]
    (tmp_path / 'cut').mkdir()
    (tmp_path / 'cut/x.png').write_bytes((data / 'a/is001.png').read_bytes()[:500])
    cases.append(([tmp_path / 'cut'], 'x.png: cannot be read'))
    (tmp_path / 'two').mkdir()
    for name in ('x.png', 'x.jpg'):
        Image.fromarray(draw_patch('STR', 32)).save(tmp_path / 'two' / name)
    cases.append(([tmp_path / 'two'], 'has x.png as PNG and as JPEG'))
    for arguments, message in cases:
        assert run(tool, *arguments, '--out', tmp_path / 'out') == 1
        assert message in (said := capsys.readouterr().err)
        assert said.startswith('normalize_stain: ')
        assert not (tmp_path / 'out').exists()


def test_replaced_images_and_targets_are_not_taken_as_done(tool, tmp_path, capsys):
    image, target, out = tmp_path / 'data/x.png', tmp_path / 'target.png', tmp_path / 'out'
    image.parent.mkdir()
    for number, path in enumerate((image, target)):
        Image.fromarray(draw_patch('NORM', 32, patient=number)).save(path)
    arguments = (image.parent, '--out', out, '--target', target)
    assert run(tool, *arguments) == run(tool, *arguments) == 0
    for path in (image, target):
        before = path.read_bytes()
        Image.fromarray(draw_patch('STR', 32)).save(path)
        assert run(tool, *arguments) == 1
        assert 'holds what other data or options gave' in capsys.readouterr().err
        path.write_bytes(before)
    assert run(tool, *arguments) == 0
