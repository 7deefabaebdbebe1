"""The baseline of one threshold on drawn nuclei, against every step by hand."""

import json

import numpy as np
import pytest
from PIL import Image
from small_runs import REPO, draw_monuseg
from tool_modules import load_tool

from histomm.evaluation.intensity_threshold import THRESHOLDS
from histomm.evaluation.nuclei_post import clean_mask, dice

CONFIG = str(REPO / 'configs/patch_contrast/confnet_mse_monuseg.py')
tool = load_tool('tools/analysis/threshold_baseline.py')


@pytest.fixture(scope='module')
def nuclei(tmp_path_factory):
    return draw_monuseg(tmp_path_factory.mktemp('nuclei'))


def pairs(root, listed):
    """Grey levels by Pillow, rounded to whole ones, and masks."""
    for name in (root / listed).read_text().split():
        grey = np.asarray(Image.open(root / name).convert('L')) / 255 * 0.95 + 0.05
        yield grey, np.asarray(Image.open(root / name.replace('images', 'instances'))) > 0


def command(root, out, **lists):
    options = [f'{key}_dataloader.dataset.{name}={value}' for key in ('val', 'test') for name, value in
               dict(data_root=root, **({'list_file': lists[key]} if key in lists else {})).items()]  # fmt: skip
    return [CONFIG, '--out', str(out), '--cfg-options', *options]


def test_threshold_comes_from_training_images_and_scores_from_test_images(nuclei, tmp_path, capsys):
    result = tool.main(command(nuclei, tmp_path / 'found.json'))
    curve = np.mean([[dice(grey < t, mask) for t in THRESHOLDS] for grey, mask in pairs(nuclei, 'train.txt')], axis=0)
    assert result['threshold'] == pytest.approx(THRESHOLDS[np.argmax(curve)], abs=1.5 / 99)
    assert result['train_dice'] == pytest.approx(curve.max(), abs=0.01)
    masks = [(grey < result['threshold'], mask) for grey, mask in pairs(nuclei, 'test.txt')]
    assert result['test']['dice_raw'] == pytest.approx(np.mean([dice(*both) for both in masks]), abs=0.01)
    cleaned = np.mean([dice(clean_mask(found), mask) for found, mask in masks])
    assert result['test']['dice'] == pytest.approx(cleaned, abs=0.02)
    assert json.loads((tmp_path / 'found.json').read_text()) == result
    assert not set(result['images']['train']) & set(result['images']['test'])
    assert f'Dice on {len(result["images"]["train"])} training images' in capsys.readouterr().out


def test_images_for_both_are_refused(nuclei, tmp_path):
    with pytest.raises(SystemExit, match=r'images such as .* are for training and test alike, expected none'):
        tool.main(command(nuclei, tmp_path / 'found.json', val='all.txt'))
    assert not (tmp_path / 'found.json').exists()


def test_a_config_without_images_to_score_is_refused():
    with pytest.raises(SystemExit, match='found no val_dataloader; val are the images to fit on'):
        tool.main([str(REPO / 'configs/patch_contrast/confnet_mse_patches.py')])
