"""Runs of the toy model."""

import pytest
from engine_toy import toy_config
from mmengine.runner import Runner


@pytest.fixture(autouse=True)
def _few_threads():
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def train(tmp_path):
    """Train the toy model in a sub-folder; keywords as :func:`engine_toy.toy_config`."""

    def run(name='run', *, resume=False, load_from=None, before=None, **options):
        cfg = toy_config(tmp_path / name, **options)
        cfg.resume, cfg.load_from = resume, load_from
        runner = Runner.from_cfg(cfg)
        if before:
            before(runner)
        runner.train()
        return runner

    return run
