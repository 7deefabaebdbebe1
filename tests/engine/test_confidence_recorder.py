"""What the recorder writes is what the model does to the image, also after a kill, and the training does not notice."""

import numpy as np
import pytest
import torch
from engine_toy import toy_config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image
from small_runs import REPO, draw_patches, patch_contrast_options, small_config

from histomm.engine import latest_good_checkpoint
from histomm.engine.launch import build_runner


class _Kill(Hook):
    """Raises in the epoch given."""

    def __init__(self, epoch):
        self.epoch = epoch

    def before_train_epoch(self, runner):
        if runner.epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture(scope='module')
def patches(tmp_path_factory):
    return draw_patches(tmp_path_factory.mktemp('drawn'), num=9, size=64)


def run(patches, work_dir, resume=False, kill=None, recorder=True, epochs=5, **options):
    options = patch_contrast_options(patches, epochs) | {'default_hooks.confidence.interval': 2} | options
    cfg = small_config(REPO / 'configs/patch_contrast/confnet_mse_patches.py', work_dir, options)
    cfg.resume = resume
    if not recorder:
        del cfg.default_hooks.confidence
    runner = build_runner(cfg)
    if kill is not None:
        runner.register_hook(_Kill(kill))
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    else:
        runner.train()
    return runner


def contents(work_dir):
    return {path.name: path.read_bytes() for path in (work_dir / 'confidence').iterdir()}


def test_record_is_what_the_model_does(patches, tmp_path):
    runner = run(patches, tmp_path / 'whole', **{'default_hooks.confidence.side': 50})
    names = ['epoch_0000.npz', 'epoch_0002.npz', 'epoch_0004.npz', 'epoch_0005.npz', 'image.png']
    assert sorted(contents(tmp_path / 'whole')) == names
    image = np.array(Image.open(tmp_path / 'whole/confidence/image.png'))
    source = np.array(Image.open(runner.train_dataloader.dataset.get_data_info(0)['img_path']))
    np.testing.assert_array_equal(image, source[7:57, 7:57])
    record = np.load(tmp_path / 'whole/confidence/epoch_0005.npz')
    model = runner.model.eval()
    with torch.no_grad():
        scaled = torch.tensor(image).permute(2, 0, 1)[None] / 255 * 0.95 + 0.05
        confidence = model.backbone(scaled)[0].double().numpy()
    assert np.abs(record['confidence'] / 255 - confidence).max() <= 0.5 / 255 + 1e-5
    corners = [(y, x) for y in range(0, 35, 8) for x in range(0, 35, 8)]
    assert (record['size'], record['stride'], record['mean'].shape) == (16, 8, (4, len(corners)))
    entropy = -confidence * np.log2(confidence) - (1 - confidence) * np.log2(1 - confidence)
    for number, (y, x) in enumerate(corners):
        part = slice(None), slice(y, y + 16), slice(x, x + 16)
        np.testing.assert_allclose(record['mean'][:, number], confidence[part].mean((1, 2)), atol=1e-5)
        np.testing.assert_allclose(record['entropy'][:, number], entropy[part].mean((1, 2)), atol=1e-5)
    assert record['index'].shape == record['positive'].shape == (4, 10)
    assert record['index'].max() < len(corners)


def test_killed_and_resumed_writes_the_same(patches, tmp_path):
    run(patches, tmp_path / 'whole')
    run(patches, tmp_path / 'killed', kill=3)
    assert latest_good_checkpoint(tmp_path / 'killed').endswith('epoch_3.pth')
    run(patches, tmp_path / 'killed', resume=True)
    assert contents(tmp_path / 'killed') == contents(tmp_path / 'whole')


def test_training_does_not_notice(patches, tmp_path):
    weights = [run(patches, tmp_path / str(on), recorder=on, epochs=3).model.state_dict() for on in (True, False)]
    assert not (tmp_path / 'False/confidence').exists()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_new_run_leaves_no_old_records(patches, tmp_path):
    run(patches, tmp_path, epochs=4)
    run(patches, tmp_path, epochs=1)
    assert sorted(contents(tmp_path)) == ['epoch_0000.npz', 'epoch_0001.npz', 'image.png']


def test_wrong_settings_are_named(patches, tmp_path):
    with pytest.raises(ValueError, match='index is 9, the data set has 4 images'):
        run(patches, tmp_path, **{'default_hooks.confidence.index': 9})
    with pytest.raises(ValueError, match='interval is 0 and side 300, expected 1 or more'):
        run(patches, tmp_path, **{'default_hooks.confidence.interval': 0})
    cfg = toy_config(tmp_path / 'toy', hooks=[dict(type='histomm.ConfidenceRecorder')])
    with pytest.raises(ValueError, match='the model is ToyModel, expected PatchContrast; turn the recorder off'):
        Runner.from_cfg(cfg).train()
