"""A data set that gives no batch is refused."""

import pytest
from small_runs import REPO, draw_patches, pretraining_options, small_config

from histomm.engine.launch import build_runner


@pytest.mark.parametrize('config', ['mocov2/mocov2_r18_nct.py', 'vicregl/vicregl_r18_nct.py'])
@pytest.mark.parametrize('batch_size', [8, 9])
def test_fewer_images_than_a_batch(batch_size, config, tmp_path):
    """The second config has a schedule in iterations, which is built before the hooks are asked."""
    options = pretraining_options(draw_patches(tmp_path, num=8), batch_size=batch_size) | {'default_hooks.knn': None}
    runner = build_runner(small_config(REPO / 'configs' / config, tmp_path / 'run', options))
    if batch_size == 8:
        runner.train()
        assert runner.iter == 1
    else:
        with pytest.raises(ValueError, match='no full batch: 8 samples over 1 processes, batch_size=9; lower'):
            runner.train()
        assert not list((tmp_path / 'run').glob('*.pth'))
