"""The command: which images it takes, what it says of them, and bad input told in one sentence."""

import numpy as np
import pytest
import torch
from classifier_files import CLASSIFIER, write_classifier
from PIL import Image
from tool_modules import load_tool

from histomm.datasets.synthetic import write_layout
from histomm.datasets.transforms import read_image
from histomm.evaluation.classifier import classifier_from_config

SMALL = ['--cfg-options', *(f'test_dataloader.dataset.pipeline.{key}=64' for key in ('1.scale', '2.crop_size'))]


@pytest.fixture(scope='module')
def tool():
    pytest.importorskip('pytorch_grad_cam')
    return load_tool('tools/analysis/visualize_cam.py')


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Two classifiers."""
    folder = tmp_path_factory.mktemp('weights')
    for seed in (0, 1):
        write_classifier(folder / f'{seed}.pth', seed)
    return folder


@pytest.fixture(scope='module')
def breakhis(tmp_path_factory):
    folder = tmp_path_factory.mktemp('breakhis')
    write_layout('breakhis', folder, 8, (70, 46), seed=0)
    return folder


@pytest.fixture
def run(tool, weights, tmp_path, monkeypatch):
    """Draws, and gives the lines that were drawn and the figure."""
    kept = []
    draw = tool.draw_activations
    monkeypatch.setattr(tool, 'draw_activations', lambda *args: kept.append((args[0], draw(*args))) or kept[-1][1])

    def start(*words, models=1):
        chosen = [
            word for seed in range(models) for word in ('--model', f'start {seed}', CLASSIFIER, weights / f'{seed}.pth')
        ]
        tool.main([str(word) for word in (*words, *chosen, *SMALL, '--out', tmp_path / 'cam.png')])
        return kept[-1]

    return start


def test_one_row_for_each_magnification_and_one_column_for_each_start(run, breakhis, weights, tmp_path, capsys):
    lines, figure = run(breakhis, models=2)
    assert [line.title.split(',')[0] for line in lines] == ['40X', '100X', '200X', '400X']
    assert sorted(line.name[:5] for line in lines) == ['SOB_B', 'SOB_B', 'SOB_M', 'SOB_M']
    assert f'{tmp_path}/cam.png: 4 images, 2 classifiers' in capsys.readouterr().out
    for number in (0, 1):
        classifier = classifier_from_config(CLASSIFIER, weights / f'{number}.pth')
        for line in lines:
            panel = line.panels[number]
            with torch.no_grad():
                scores = classifier(torch.from_numpy(panel.image).permute(2, 0, 1)[None]).softmax(dim=1)[0]
            best = int(scores.argmax())
            assert panel.title.startswith(f'{classifier.classes[best]} {scores[best]:.2f}')
            assert panel.right == ((best == 1) == line.name.startswith('SOB_M'))
    assert len(figure.axes) == 4 * 3 + 1  # and the scale
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == ['image', 'start 0', 'start 1']
    with Image.open(tmp_path / 'cam.png') as picture:
        assert min(picture.size) > 600


def test_named_images_in_their_order_and_a_class_by_name(run, breakhis):
    paths = sorted(map(str, breakhis.rglob('*.png')))
    lines, figure = run(paths[5], paths[0], '--class', 'malignant', '--layer', 'backbone.layer3')
    assert [f'{line.name}.png' in path for line, path in zip(lines, (paths[5], paths[0]), strict=True)] == [True, True]
    assert figure.axes[-1].get_ylabel() == 'evidence for malignant'
    view = read_image(paths[5])[:, 12:58]  # the short edge is the height, 46; the middle of the 70 columns is taken
    seen = np.asarray(Image.fromarray(lines[0].panels[0].image).resize((46, 46)), int)
    assert abs(seen - view).mean() < 25


def test_other_images_are_drawn_evenly_over_their_classes(run, tmp_path):
    rows = ['path,label']
    for number in range(7):
        Image.fromarray(np.full((50, 50, 3), 30 * number, np.uint8)).save(tmp_path / f'{number}.png')
        rows.append(f'{number}.png,{"malignant" if number == 3 else "benign"}')
    (tmp_path / 'list.csv').write_text('\n'.join(rows))
    lines, _ = run(tmp_path / 'list.csv', '--labels', '--num', '3')
    assert [line.title for line in lines] == ['benign', 'benign', 'malignant']
    assert lines[2].name == '3'
    lines, _ = run(tmp_path / 'list.csv', '--num', '2')
    assert [line.panels[0].right for line in lines] == [None, None]


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['{images}', '--class', '4'], 'class 4 is none of the 2 classes of the classifier: 0 benign, 1 malignant'),
        (['none.png'], 'none.png: no such image'),
        (['{images}', '{images}'], 'found 2 folders or lists'),
        (['{images}', '--num', '0'], '--num is 0, expected 1 or more'),
        (['{images}', '--layer', 'layer4'], 'layer layer4: the classifier has none of this name'),
        (['{images}', '--model', 'x', 'none.py', 'none.pth'], 'config none.py: no such file'),
    ],
)
def test_bad_input_is_told_in_one_sentence(run, breakhis, words, message):
    with pytest.raises(SystemExit) as stop:
        run(*(word.format(images=breakhis) for word in words))
    assert str(stop.value).startswith('visualize_cam: ')
    assert message in str(stop.value)


def test_other_suffixes_are_refused_before_anything_is_computed(tool):
    with pytest.raises(SystemExit, match=r"suffix '\.txt'"):
        tool.main(['none', '--model', 'a', 'b', 'c', '--out', 'cam.txt'])
