"""Parts of a model run through torch.compile: steps, names and averaged encoders as without."""

import pytest
import torch
from test_dense_moco import batch, build

from histomm.engine.speed import compile_modules


def test_backbone_and_losses_compiled_give_the_same_steps():
    views, geometry = batch()
    found = {}
    for name, options in (('plain', None), ('compiled', dict(backend='eager', modules=['backbone', 'dense']))):
        model = build()
        parts = compile_modules(model, options)
        assert parts == ([] if options is None else ['backbone', 'key_encoder.module.backbone', 'dense'])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            losses = model(views, geometry=geometry, mode='loss')
            optimizer.zero_grad()
            (losses['loss_global'] + losses['loss_dense']).backward()
            optimizer.step()
        found[name] = {key: value.detach() for key, value in losses.items()} | model.state_dict()
    torch.testing.assert_close(found['compiled'], found['plain'], rtol=1e-6, atol=1e-6)


def test_a_part_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"compile: DenseMoCo has no module 'losses', expected paths in .*dense"):
        compile_modules(build(), dict(modules=['losses']))


def test_an_argument_that_torch_does_not_know_is_named():
    with pytest.raises(ValueError, match='compile has target, expected fields among modules, fullgraph, '):
        compile_modules(build(), dict(target='train_step'))
