"""Projections are those that the contrast of the pre-training compares."""

import pytest
import torch
from small_runs import REPO
from torch import nn

from histomm.evaluation.encoder import build_part, encoder_from_config, image_steps, model_config
from histomm.evaluation.feature_store import FeatureSet, join_features
from histomm.evaluation.projection import Projector, projector_from_config
from histomm.models.weights import TransferError

CONFIG = str(REPO / 'configs/mpcs/mpcs_r50_breakhis_ordered.py')
SMALL = {'model.backbone.depth': 18, 'model.neck.in_channels': 512, 'model.neck.hid_channels': 32}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A checkpoint of MPCS, and its model."""
    cfg = model_config(CONFIG, SMALL)
    model = build_part(cfg, cfg.model.to_dict()).eval()
    model.neck.bn1.running_mean.normal_(generator=torch.Generator().manual_seed(1))
    path = tmp_path_factory.mktemp('trained') / 'epoch_1.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    return path, model


def test_projections_are_unit_vectors_of_the_projector(trained):
    path, model = trained
    encoder = projector_from_config(CONFIG, path, SMALL)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        pooled = model.backbone(images / 255.0)[0].mean(dim=(2, 3))
        hidden = model.neck.bn0(pooled @ model.neck.fc0.weight.T).relu()
        output = model.neck.bn1(hidden @ model.neck.fc1.weight.T)
    found = encoder(images)
    torch.testing.assert_close(found, torch.stack([row / row.square().sum().sqrt() for row in output]))
    assert found.shape == (3, 128)
    assert encoder.settings['feature'] == 'projection'


def test_images_are_resized_as_in_the_pretraining(trained):
    assert projector_from_config(CONFIG, trained[0], SMALL).steps == [dict(type='histomm.ResizeWhole', size=224)]
    cfg = model_config(str(REPO / 'configs/mpcs/mpcs_efficientnet-b2_breakhis_fixed.py'))
    assert image_steps(cfg) == [dict(type='histomm.ResizeWhole', size=341)]


def test_weights_that_need_not_be_there_are_random_without_them():
    encoder = encoder_from_config(CONFIG, options=SMALL)
    assert encoder.checkpoint is None
    with pytest.raises(TransferError, match=r'none\.pth'):
        encoder_from_config(CONFIG, 'none.pth', options=SMALL)


def test_projections_are_not_mixed_with_features_of_the_backbone(trained):
    sets = [
        FeatureSet(torch.zeros(1, 4).numpy(), ['a'], None, None, None, encoder.settings, {})
        for encoder in (
            projector_from_config(CONFIG, trained[0], SMALL),
            encoder_from_config(CONFIG, trained[0], SMALL),
        )
    ]
    with pytest.raises(ValueError, match='feature files differ in weights'):
        join_features(sets)


def test_both_parts_have_to_be_there(trained, tmp_path):
    state = {name: value for name, value in trained[1].state_dict().items() if name.startswith('backbone')}
    torch.save({'state_dict': state}, tmp_path / 'backbone.pth')
    with pytest.raises(TransferError, match='has no neck, found backbone'):
        projector_from_config(CONFIG, tmp_path / 'backbone.pth', SMALL)
    with pytest.raises(ValueError, match=r'found no model\.neck'):
        projector_from_config(CONFIG, trained[0], SMALL | {'model.neck': None})


def test_neck_that_gives_maps_is_refused():
    network = Projector(nn.Identity(), nn.Identity())
    with pytest.raises(ValueError, match=r'the neck Identity gives \(2, 3, 8, 8\), expected one vector'):
        network(torch.zeros(2, 3, 8, 8))
    assert network(torch.ones(2, 3)).shape == (2, 3)
