"""The comparison of MPCS and SimCLR compares like with like, and runs."""

import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from histomm.datasets.breakhis import parse_name
from histomm.datasets.synthetic.magnifications import breakhis_82_pictures


@pytest.fixture
def tool(repo, monkeypatch):
    script = repo / 'tools/benchmarks/magnification_pairs.py'
    monkeypatch.syspath_prepend(str(script.parent))
    monkeypatch.setattr(sys, 'argv', [str(script)])
    return SimpleNamespace(**runpy.run_path(str(script)))


def test_methods_differ_in_pairs_augmentation_and_temperature_alone(tool, tmp_path):
    args = tool.parse_args(['--steps', '7', '--batch', '5', '--size', '32'])
    one, other = (
        tool.small_config(method, tmp_path, tmp_path / 'list.txt', 3, tmp_path, args)
        for method in ('SimCLR', 'MPCS, ordered pairs')
    )
    for cfg in (one, other):
        assert cfg.train_cfg.max_iters == 7
        assert cfg.train_dataloader.batch_size == 5
        assert cfg.model.type == 'histomm.SimCLR'
        # grey levels from 0 to 1, as in features_of
        assert tuple(cfg.model.data_preprocessor.mean) == (0, 0, 0)
        assert tuple(cfg.model.data_preprocessor.std) == (255, 255, 255)
    same = ('optim_wrapper', 'param_scheduler', 'train_cfg', 'randomness')
    assert [one[name] for name in same] == [other[name] for name in same]
    kept = ('type', 'backbone', 'neck', 'data_preprocessor')
    assert [one.model[name] for name in kept] == [other.model[name] for name in kept]
    assert set(one.model) == {*kept, 'temperature'} == set(other.model)
    assert one.train_dataloader.dataset.list_file == other.train_dataloader.dataset.list_file


class _Knowing(nn.Module):
    """A network whose features tell whether a picture is bright."""

    def forward(self, batch):
        return (torch.stack([batch.mean(dim=(1, 2, 3)), torch.zeros(len(batch))], dim=1)[:, :, None, None],)


def test_scores_are_means_over_magnifications_of_images_and_patients(tool, tmp_path):
    """Malignant pictures are dark, but for one of two images of a patient at 400X."""
    paths = [Path(path).name for files, _ in breakhis_82_pictures(82, (32, 32), 0) for path in files]
    images, parts, odd = {path: parse_name(path) for path in paths}, [paths, paths, paths], []

    def picture(path):
        name = Path(path).name
        return np.full((8, 8, 3), 250 if name.startswith('SOB_B_') != (name in odd) else 20, np.uint8)

    tool.features_of.__globals__['read_image'] = picture
    assert tool.scores(_Knowing(), tmp_path, images, parts, 8) == (1.0, 1.0, 1.0)
    odd.append('SOB_M_DC-14-95001-400-001.png')
    ila, pla, auc = tool.scores(_Knowing(), tmp_path, images, parts, 8)
    assert ila == pytest.approx(1 - 1 / 82 / 4)
    # 14-95001 has two folders, so one of its two images at 400X is right
    assert pla == pytest.approx(1 - 0.5 / 81 / 4)
    # one of the malignant images has the score of the benign ones
    assert auc == pytest.approx(1 - 0.5 / sum('SOB_M' in path for path in parts[2]))


def test_it_runs_small(repo, monkeypatch, capsys, tmp_path):
    script = repo / 'tools/benchmarks/magnification_pairs.py'
    sizes = '--places 40 --seeds 1 --steps 2 --batch 4 --height 48 --size 32 --channels 4'
    monkeypatch.setattr(sys, 'argv', [str(script), *sizes.split(), '--markdown', str(tmp_path / 'out.md')])
    monkeypatch.syspath_prepend(str(script.parent))
    runpy.run_path(str(script), run_name='__main__')
    printed = capsys.readouterr().out
    rows = re.findall(r'^\| (.+?) \| ([\d.]+) ± 0\.0 \| ([\d.]+) ± 0\.0 \| ([\d.]+) ± 0\.0 \|$', printed, re.M)
    assert [row[0] for row in rows] == ['random start', 'SimCLR', 'MPCS, ordered pairs']
    assert (tmp_path / 'out.md').read_text().strip() in printed
