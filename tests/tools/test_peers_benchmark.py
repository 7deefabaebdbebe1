"""The benchmark beside lightly and plain forms compares like with like, and runs. Nothing asserts a time."""

import sys
import warnings

import cv2
import pytest
import torch
from benchmark_claims import require_claims
from tool_modules import load_tool

SMALL = [
    *('--rows', '8', '--batch', '3', '--cells', '5', '--queue', '24', '--channels', '16', '--outputs', '12'),
    *('--images', '1', '--step-batch', '2', '--step-size', '64', '--repeats', '1', '--device', 'cpu'),
]
CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def folder(repo):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repo / 'tools' / 'benchmarks'))
        yield


@pytest.fixture
def tool(folder, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['peers.py'])
    threads = torch.get_num_threads(), cv2.getNumThreads()
    with warnings.catch_warnings():
        yield load_tool('tools/benchmarks/peers.py')
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def test_all_parts_agree_and_run(tool, capsys, tmp_path):
    pytest.importorskip('lightly')
    tool.main([*SMALL, '--json', str(tmp_path / 'figures.json')])
    printed = capsys.readouterr().out
    titles = [line.split(' | ')[0][2:] for line in printed.splitlines() if line.startswith('| ') and '(' in line]
    assert titles == [
        'SimCLR loss', 'MoCo-v2 loss', 'DenseCL loss', 'VICReg loss', 'VICRegL loss', 'DINO loss',
        'MoCo-v2 views', 'DenseCL views', 'VICRegL views', 'VICRegL with small crops views',
        'MoCo-v2 step', 'DenseCL step', 'VICRegL step',
        'PLM matching and loss', 'VICRegL locations', 'VICRegL locations of large maps', 'ConCL concepts', 'NT-Xent',
        'DINO crops', 'key encoder',
    ]  # fmt: skip
    assert "- DenseCL loss: lightly's queue takes the 25 matched cells" in printed
    assert 'Timing: cpu time, threads: 1, 1 turns' in printed
    require_claims('peers', tmp_path / 'figures.json')


def test_without_lightly_a_sentence_says_what_to_install(tool, monkeypatch):
    monkeypatch.setattr(tool.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(SystemExit, match=r'pip install --no-deps -r requirements/peers\.txt, or choose --parts plain'):
        tool.main(['--parts', 'steps'])


@pytest.fixture
def losses(folder):
    pytest.importorskip('lightly')
    return load_tool('tools/benchmarks/_lightly_losses.py')


@pytest.fixture
def plain(folder):
    return load_tool('tools/benchmarks/_plain_forms.py')


def test_a_queue_that_forgets_is_refused(losses, monkeypatch):
    monkeypatch.setattr(losses.FeatureQueue, 'enqueue', lambda self, keys: None)
    with pytest.raises(AssertionError, match='MoCo-v2 loss, result 2: '):
        losses.moco(4, 12, CPU).check()


@pytest.mark.parametrize('part', [0, 1])
def test_other_matches_are_refused(losses, monkeypatch, part):
    """Both matchers of VICRegL, and so what lightly makes of flips and grids, show in what is compared."""
    original = losses.vicregl_model

    def off_by_one(matches):
        model = original(matches)
        align = model.matchers[part].align
        model.matchers[part].align = lambda target, source: align(target, source)._replace(
            positive=align(target, source).positive.roll(1, 0)
        )
        return model

    losses.vicregl(3, 4, 32, CPU).check()
    monkeypatch.setattr(losses, 'vicregl_model', off_by_one)
    with pytest.raises(AssertionError, match='VICRegL loss, result 0: '):
        losses.vicregl(3, 4, 32, CPU).check()


def test_another_momentum_is_refused(folder):
    """The losses of two steps tell how the key encoder follows."""
    pytest.importorskip('lightly')
    steps = load_tool('tools/benchmarks/_lightly_steps.py')
    path = 'mocov2/mocov2_r18_nct.py'
    first, second, theirs, own = steps.both(path, 3, 32, torch.float64, CPU, momentum=0.5)
    pair = steps.Pair(
        'step', None, None, alike=lambda: (steps.results(first, theirs, 2), steps.results(second, own, 2))
    )
    with pytest.raises(AssertionError, match='step, result 0: '):
        pair.check()


@pytest.mark.filterwarnings('ignore:The function .get_image_size')
def test_another_picture_is_refused(folder, monkeypatch):
    pytest.importorskip('lightly')
    views = load_tool('tools/benchmarks/_lightly_views.py')
    original = views.without_chance

    def unflipped(pipeline):
        pipeline = original(pipeline)
        steps = pipeline[1]['views'][0]['pipeline']
        next(step for step in steps if step['type'] == 'histomm.RandomFlip').update(prob_h=0.0)
        return pipeline

    monkeypatch.setattr(views, 'without_chance', unflipped)
    with pytest.raises(AssertionError, match='VICRegL views, result 0: '):
        views.plain_pair('VICRegL').check()


def test_pairs_of_other_numbers_of_results_are_refused(losses):
    with pytest.raises(AssertionError, match='made up: 1 and 2 results'):
        losses.Pair('made up', lambda: [torch.ones(1)], lambda: [torch.ones(1)] * 2).check()


def test_plain_overlaps_by_hand(plain):
    """Two cells a side of 10 px beside the right half of that view, whose cells are 5 px wide."""
    cells = [plain.cells_of(torch.tensor([box]), 2) for box in ([0.0, 0, 20, 20], [10.0, 0, 20, 20])]
    assert cells[1][0, 1].tolist() == [15, 0, 20, 10]
    assert plain.overlaps(*cells)[0].tolist() == [[0, 0, 0, 0], [50, 50, 0, 0], [0, 0, 0, 0], [0, 0, 50, 50]]


def test_a_wrong_form_is_refused(plain, monkeypatch):
    original = plain.functional.concept_prototypes
    monkeypatch.setattr(plain.functional, 'concept_prototypes', lambda *args: (original(*args)[0] * 1.01, None))
    with pytest.raises(AssertionError, match='ConCL concepts, result 0: '):
        plain.concept_pair(3, 4, CPU).check()
    monkeypatch.setattr(plain, 'TEMPERATURE', 0.3)
    monkeypatch.setattr(plain, 'nt_xent', lambda *views: plain.functional.nt_xent(*views, 0.2))
    with pytest.raises(AssertionError, match='NT-Xent, result 0: '):
        plain.nt_xent_pair(4, CPU).check()
