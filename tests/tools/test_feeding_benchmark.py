"""The benchmark of feeding reads the same pictures in all forms, and reckons waits rightly. Nothing asserts a time."""

import gc
import itertools
import sys
import time

import cv2
import numpy as np
import pytest
import torch
from benchmark_claims import require_claims
from tool_modules import load_tool

from histomm.datasets import PatchDataset, SeededSampler

FORMS = [
    'TIFF files',
    'JPEG files',
    'slides by neighbourhoods',
    'large JPEG files',
    'large JPEG files at reduced scale',
]
SMALL = ['--side', '612', '--large', '512', '--images', '2', '--batch', '2', '--repeats', '1', '--forms', *FORMS]


@pytest.fixture(scope='module')
def bench(repo):
    """Modules of the folder, as when one of them is called as a script."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    gc.freeze()  # data sets call gc.collect, which takes half a second with all libraries loaded
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repo / 'tools' / 'benchmarks'))
        patch.setattr(sys, 'argv', ['feeding.py'])
        yield lambda name: load_tool(f'tools/benchmarks/{name}.py')
    gc.unfreeze()
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


@pytest.fixture(scope='module')
def pictures(bench, tmp_path_factory):
    """Four small pictures and a large one in all forms."""
    root = tmp_path_factory.mktemp('forms')
    assert bench('_feeding').lay_out(root, 700, 512) == {False: 4, True: 1}
    return root


def test_it_runs(bench, capsys, tmp_path):
    bench('feeding').main([*SMALL, '--json', str(tmp_path / 'out.json')])
    require_claims('feeding', tmp_path / 'out.json')
    printed = capsys.readouterr().out
    assert [printed.count(f'| {form} |') for form in FORMS] == [1] * 5


def test_a_loader_feeds_steps(bench, pictures):
    tool = bench('feeding')
    args = tool.parse_args(['--workers', '1', '--batch', '2', '--step-ms', '1', '--steps', '1', '--repeats', '1'])
    text, figures = tool.loader_waits(pictures, [form for form in tool.FORMS if form.name == 'JPEG files'], args)
    assert text.startswith('| loader of 1 processes, batch 2 |')
    assert set(figures) == {'JPEG files wait of a step, %', 'JPEG files step with its wait, ms'}


def test_all_forms_hold_the_same_pictures(bench, pictures):
    feeding, load = bench('_feeding'), [dict(type='histomm.LoadPatch')]

    def read(form):
        dataset = form.dataset(pictures, load)
        return [dataset[index]['img'].astype(int) for index in range(len(dataset))]

    found = {form.name: read(form) for form in feeding.FORMS if not form.large}
    exact = sorted(found['TIFF files'], key=np.ndarray.tobytes)
    assert [image.shape for image in exact] == [(256, 256, 3)] * 4
    for name, images in found.items():
        if name in ('JPEG files', 'WebDataset'):
            assert all(min(np.abs(image - whole).mean() for whole in exact) < 4 for image in images), name
        else:
            np.testing.assert_array_equal(sorted(images, key=np.ndarray.tobytes), exact, err_msg=name)
    large, reduced = (form for form in feeding.FORMS if form.large)
    assert large.dataset(pictures, load)[0]['img'].shape == (512, 512, 3)
    assert repr(reduced.dataset(pictures, load).pipeline.transforms[0]) == 'LoadPatch(min_size=1, reduce=True)'
    assert feeding.FORMS[0].bytes_of_each(pictures, 4) == pytest.approx(256 * 256 * 3, rel=0.01)


def test_a_slide_without_a_large_picture_is_an_error(bench, tmp_path):
    with pytest.raises(ValueError, match='--side is 700, expected at least 1124'):
        bench('_feeding').lay_out(tmp_path, 700)


def test_waits_are_reckoned(bench, monkeypatch):
    """Batches that take 1 s before steps of 3 s."""
    now = [0.0]

    def passes(seconds):
        now[0] += seconds

    monkeypatch.setattr(time, 'perf_counter', lambda: now[0])
    batches = (passes(1) or number for number in itertools.count())
    shares, seconds = bench('_loader_wait').waits(batches, lambda batch: passes(3), steps=5, repeats=2)
    assert shares == [25, 25]
    assert seconds == [4, 4]


def test_a_real_step_takes_the_batches_of_a_loader(bench, tmp_path):
    """The code path of an accelerator, on the CPU: the weights move."""
    loading = bench('_loader_wait')
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((40, 40, 3), 90, np.uint8))
    pipeline = bench('feeding').view_pipeline()
    pipeline[1]['views'][0]['pipeline'][0]['size'] = 64
    dataset = PatchDataset(str(tmp_path), pipeline=pipeline)
    sampler = SeededSampler(dataset, seed=0, infinite=True)
    device = torch.device('cpu')
    loader = loading.make_loader(dataset, sampler, 0, 2, device)
    step = loading.choose_step(None, device, [])
    weight = step.model.backbone.conv1.weight
    before = weight.detach().clone()
    step(next(iter(loader)))
    assert not torch.equal(before, weight)
