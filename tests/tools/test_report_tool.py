"""The report's command on folders written by hand."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from tool_modules import load_tool

coder = pytest.importorskip('pycocotools.mask')


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/analysis/report.py')


def _scalars(work_dir, records):
    path = work_dir / '1' / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    (work_dir / 'own.py').write_text('randomness = dict(seed=5)\n')


def _instance(image_id, **more):
    mask = np.zeros((40, 60), np.uint8, order='F')
    mask[5:20, 5:30] = 1
    rle = coder.encode(mask)
    return dict(image_id=image_id, segmentation=dict(size=rle['size'], counts=rle['counts'].decode()), **more)


@pytest.fixture
def runs(tmp_path):
    pretrain = tmp_path / 'pretrain'
    _scalars(pretrain, [{'loss': 3.0 - s, 'loss_dense': 1.0, 'rankme': 9.0, 'lr': 1, 'step': s} for s in (1, 2)])
    for name, value in (('scratch', 0.25), ('pretrained', 0.345)):
        work_dir = tmp_path / name
        _scalars(work_dir, [{'loss': 1.0, 'loss_mask': 0.5, 'step': s} for s in (1, 2)])
        (work_dir / 'test' / '9').mkdir(parents=True)
        metrics = {'coco/bbox_mAP': value, 'coco/segm_mAP': value + 0.01, 'coco/segm_mAP_75': -1.0}
        (work_dir / 'test' / '9' / '9.json').write_text(json.dumps(metrics) + '\n')
        results = [_instance(i, score=s) for i, s in ((1, 0.9), (1, 0.1), (2, 0.7))]
        (work_dir / 'test.segm.json').write_text(json.dumps(results))
    images = [{'id': i, 'file_name': f'{i}.png'} for i in (1, 2, 3)]
    (tmp_path / 'ann.json').write_text(json.dumps({'images': images, 'annotations': [_instance(i) for i in (1, 2, 3)]}))
    for i in (1, 2, 3):
        Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(tmp_path / f'{i}.png')
    return tmp_path


def _arguments(runs):
    return [
        '--out', runs / 'report.html', '--pretrain', runs / 'pretrain', '--ann', runs / 'ann.json', '--images', runs,
        '--finetune', f'scratch={runs / "scratch"}', f'pre-trained={runs / "pretrained"}', '--num-images', '2',
    ]  # fmt: skip


def _run(tool, *arguments):
    tool.main([str(argument) for argument in arguments])


def test_page_has_every_part_with_the_figures_of_the_files(tool, runs):
    _run(tool, *_arguments(runs))
    page = (runs / 'report.html').read_text()
    headings = re.findall('<h2>(.*?)</h2>', page)
    assert headings == ['Average precision', 'Predicted instances beside the truth', 'Pre-training', 'Fine-tuning']
    cells = re.findall('<t[hd][^>]*>([^<]*)</t[hd]>', page)
    at = cells.index('pre-trained')
    assert cells[at - 7 : at] == ['scratch', '25.0', '–', '–', '26.0', '–', '–']
    assert cells[at + 1 : at + 5] == ['34.5', '–', '–', '35.5']
    assert 'Difference, pre-trained less scratch: +9.5 points for boxes, +9.5 for masks' in page
    assert 'own.py, seed 5' in page
    captions = re.findall('<figcaption>(.*?)</figcaption>', page)
    # first and last of three images; one of two predictions on the first reaches the score
    assert captions[:6] == [
        '1, truth: 1', '1, scratch: 1', '1, pre-trained: 1', '3, truth: 1', '3, scratch: 0', '3, pre-trained: 0',
    ]  # fmt: skip


def test_scores_of_instances_are_shown_where_there_are_some(tool, runs):
    path = runs / 'pretrained' / 'test' / '9' / '9.json'
    scores = {'gland/object_f1': 0.815, 'gland/object_hausdorff': 61.25, 'instance/aji': float('nan')}
    path.write_text(json.dumps(json.loads(path.read_text()) | scores) + '\n')
    _run(tool, *_arguments(runs))
    page = (runs / 'report.html').read_text()
    assert re.findall('<h2>(.*?)</h2>', page)[1] == 'Scores of instances'
    cells = re.findall('<t[hd][^>]*>([^<]*)</t[hd]>', page)
    at = cells.index('object F1')
    assert cells[at : at + 11] == [
        'object F1', 'object Hausdorff, pixels', 'AJI', 'scratch', '–', '–', '–', 'pre-trained', '81.5', '61.2', '–',
    ]  # fmt: skip
    assert 'on ann.json, in per cent but for the distance' in page


def test_pretraining_alone_is_a_report_too(tool, runs):
    _run(tool, '--out', runs / 'report.html', '--pretrain', runs / 'pretrain')
    assert re.findall('<h2>(.*?)</h2>', (runs / 'report.html').read_text()) == ['Pre-training']


def test_pictures_of_other_tools_have_captions(tool, runs):
    pictures = [runs / '1.png', 'Dark <where>', runs / '2.png', 'Second']
    _run(tool, '--out', runs / 'report.html', '--picture', *pictures[:2], '--picture', *pictures[2:])
    page = (runs / 'report.html').read_text()
    assert re.findall('<h2>(.*?)</h2>', page) == ['Pictures']
    assert re.findall('<figcaption>(.*?)</figcaption>', page) == ['Dark &lt;where&gt;', 'Second']
    assert page.count('src="data:image/png;base64,') == 2
    with pytest.raises(SystemExit, match=r'--picture .*none\.png: no such file'):
        _run(tool, '--out', runs / 'r.html', '--picture', runs / 'none.png', 'x')


def test_bad_input_is_told_in_one_sentence(tool, runs):
    with pytest.raises(SystemExit, match=r'report: .*needs --images'):
        _run(tool, '--out', runs / 'r.html', '--ann', runs / 'ann.json')
    with pytest.raises(SystemExit, match=r'report: .*give a work directory'):
        _run(tool, '--out', runs / 'r.html', '--pretrain', runs / 'scratch' / 'test')
    (runs / 'scratch' / 'test' / '9' / '9.json').unlink()
    with pytest.raises(SystemExit, match=r"report: the fine-tuning 'scratch' has no coco/"):
        _run(tool, *_arguments(runs))
    with pytest.raises(SystemExit):
        tool.parse_args(['--out', 'r.html', '--finetune', 'no-name'])
