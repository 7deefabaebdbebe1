"""Encoders give what the plain model gives, are fed as their library says, and never start a download."""

import json

import numpy as np
import pytest
import timm
import torch
from mmpretrain.models.backbones import ResNet
from PIL import Image
from safetensors.torch import save_file
from small_runs import REPO
from timm.data import create_transform, resolve_model_data_config

from histomm.evaluation.encoder import encoder_from_config, weights_hash
from histomm.evaluation.extraction import ImageFiles
from histomm.evaluation.foundation_models import FOUNDATION_MODELS, resolve_layers
from histomm.evaluation.timm_encoder import encoder_from_timm
from histomm.models.weights import TransferError

CONFIG = str(REPO / 'configs/mocov2/mocov2_r18_nct.py')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A checkpoint as pre-training writes it, and its backbone."""
    torch.manual_seed(1)
    backbone = ResNet(18)
    backbone.eval()
    path = tmp_path_factory.mktemp('trained') / 'epoch_1.pth'
    torch.save({'state_dict': {f'backbone.{name}': value for name, value in backbone.state_dict().items()}}, path)
    return path, backbone


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def test_features_of_a_config_are_the_pooled_map_of_its_backbone(trained, images):
    path, backbone = trained
    encoder = encoder_from_config(CONFIG, path)
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    with torch.no_grad():
        (expected,) = backbone((images.float() - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    torch.testing.assert_close(encoder(images), expected.mean(dim=(2, 3)))
    assert encoder.settings['weights'] == weights_hash(backbone)
    assert not encoder.network.training


def test_preprocessing_is_that_of_the_online_knn_or_the_test_data(trained):
    steps = encoder_from_config(CONFIG, trained[0]).steps
    assert [step['type'] for step in steps] == ['mmpretrain.ResizeEdge', 'mmpretrain.CenterCrop']
    options = {'test_dataloader.dataset.pipeline.1.scale': 96, 'test_dataloader.dataset.pipeline.2.crop_size': 80}
    steps = encoder_from_config(str(REPO / 'configs/nct/resnet18_finetune_nct.py'), trained[0], options).steps
    assert (steps[0]['scale'], steps[1]['crop_size']) == (96, 80)
    assert encoder_from_config(str(REPO / 'configs/patch_contrast/confnet_mse_patches.py')).steps[1]['crop_size'] == 224


@pytest.mark.parametrize('config', ['glas/mask-rcnn_r18_fpn_glas.py', 'bcss/unet_r18_bcss.py'])
def test_backbones_of_detectors_and_segmentors_are_encoders_too(config, trained, images):
    """The backbone of a detector with our weights gives the features of our backbone, normalised as it wants."""
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    encoder = encoder_from_config(str(REPO / 'configs' / config), trained[0])
    with torch.no_grad():
        (expected,) = trained[1]((images - encoder.mean) / encoder.std)
    torch.testing.assert_close(encoder(images), expected.mean(dim=(2, 3)))


def test_weights_decide_the_hash_and_random_ones_are_always_the_same(trained):
    one, two = encoder_from_config(CONFIG), encoder_from_config(CONFIG)
    assert one.settings == two.settings
    assert encoder_from_config(CONFIG, trained[0]).settings['weights'] != one.settings['weights']


def test_bf16_is_near_float32(trained, images):
    encoder = encoder_from_config(CONFIG, trained[0])
    exact, rough = encoder(images), encoder(images, torch.bfloat16)
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    assert torch.nn.functional.cosine_similarity(exact, rough).min() > 0.999


def test_errors_of_configs(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'config none\.py: no such file'):
        encoder_from_config('none.py')
    (tmp_path / 'bare.py').write_text("model = dict(type='histomm.DenseMoCo')\n")
    with pytest.raises(ValueError, match=r'found no model\.backbone'):
        encoder_from_config(str(tmp_path / 'bare.py'))
    with pytest.raises(TransferError, match=r'holds ResNet-18 .* is ResNet-34'):
        encoder_from_config(CONFIG, trained[0], {'model.backbone.depth': 34})
    init = {'model.backbone.init_cfg': dict(type='Pretrained', checkpoint='torchvision://resnet18')}
    with pytest.raises(ValueError, match='torchvision://resnet18, which is not on this disk'):
        encoder_from_config(CONFIG, None, init)


def test_the_weights_that_a_config_names_are_taken(trained, images, tmp_path):
    init = dict(type='histomm.VerifiedPretrained', checkpoint=str(trained[0]))
    named = encoder_from_config(CONFIG, None, {'model.backbone.init_cfg': init})
    expected = encoder_from_config(CONFIG, trained[0])(images)
    assert torch.equal(named(images), expected)
    # a work directory counts, as in training
    init = dict(type='histomm.PretrainedIfPresent', checkpoint=str(tmp_path))
    (tmp_path / 'last_checkpoint').write_text(str(trained[0]))
    assert torch.equal(encoder_from_config(CONFIG, None, {'model.backbone.init_cfg': init})(images), expected)


# ---- timm


@pytest.mark.parametrize('name', ['resnet18', 'vit_tiny_patch16_224'])
def test_features_of_timm_are_those_of_its_own_pipeline(name, tmp_path):
    """From an image file to the vector, as timm's documentation has it; images are rounded to whole grey levels."""
    torch.manual_seed(3)
    model = timm.create_model(name, num_classes=5).eval()
    save_file(model.state_dict(), tmp_path / 'weights.safetensors')
    pixels = np.random.default_rng(4).integers(0, 256, (60, 75, 3)).astype(np.uint8)
    image = Image.fromarray(pixels).resize((300, 240), Image.Resampling.BICUBIC)
    image.save(tmp_path / 'image.png')
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(transform(image)[None]), pre_logits=True)
    encoder = encoder_from_timm(name, tmp_path / 'weights.safetensors')
    found = encoder(ImageFiles([str(tmp_path / 'image.png')], encoder.steps)[0][None])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_of_ours_goes_into_timm(trained, images):
    path, _ = trained
    ours, theirs = encoder_from_config(CONFIG, path), encoder_from_timm('resnet18', path)
    torch.testing.assert_close(theirs(images), ours(images))


def test_class_and_mean_token_stand_side_by_side(images):
    images = torch.nn.functional.interpolate(images.float(), 224)
    network = timm.create_model('vit_tiny_patch16_224', num_classes=0, global_pool='', reg_tokens=4).eval()
    from histomm.evaluation.encoder import Encoder

    encoder = Encoder(network, [], feature='class+mean')
    with torch.no_grad():
        tokens = network((images - encoder.mean) / encoder.std)
    assert tokens.shape == (3, 1 + 4 + 196, 192)
    expected = torch.cat((tokens[:, 0], tokens[:, 5:].mean(dim=1)), dim=1)
    torch.testing.assert_close(encoder(images), expected)


PARAMETERS = {
    'MahmoodLab/UNI': 303,
    'MahmoodLab/UNI2-h': 681,
    'paige-ai/Virchow': 631,
    'paige-ai/Virchow2': 631,
    'bioptimus/H-optimus-0': 1135,
    'prov-gigapath/prov-gigapath': 1135,
}
"""Millions, from the model cards and papers."""


@pytest.mark.parametrize('name', FOUNDATION_MODELS)
def test_foundation_models_have_as_many_parameters_as_published(name):
    known = FOUNDATION_MODELS[name]
    with torch.device('meta'):
        model = timm.create_model(known.architecture, num_classes=0, **resolve_layers(known.options))
        tokens = model.forward_features(torch.empty(1, 3, 224, 224))
    assert round(sum(value.numel() for value in model.parameters()) / 1e6) == PARAMETERS[name]
    assert tokens.shape[1] in (14**2 + 1, 16**2 + 1, 16**2 + 5, 16**2 + 9)
    assert (known.feature == 'class+mean') == (model.global_pool == '')


@pytest.mark.parametrize('name', ['hf-hub:MahmoodLab/UNI', 'paige-ai/Virchow2', 'resnet18', 'hf-hub:nobody/nothing'])
def test_nothing_is_downloaded(name, monkeypatch, tmp_path):
    """Where weights are not on the disk, the message says how to get them; no connection is opened."""
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError('a connection was opened')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
    with pytest.raises(ValueError, match=r'nothing is downloaded here; .*hf download.* --weights'):
        encoder_from_timm(name)


def put_into_cache(cache, repository, files):
    """Files of a repository as the hub's client keeps them."""
    folder = cache / f'models--{repository.replace("/", "--")}'
    snapshot = folder / 'snapshots' / ('a' * 40)
    snapshot.mkdir(parents=True)
    (folder / 'refs').mkdir()
    (folder / 'refs/main').write_text('a' * 40)
    for name, write in files.items():
        write(snapshot / name)


def test_models_of_the_hub_are_read_from_its_cache(monkeypatch, tmp_path, images):
    torch.manual_seed(5)
    model = timm.create_model('resnet18', num_classes=4).eval()
    config = {
        'architecture': 'resnet18',
        'num_classes': 4,
        'pretrained_cfg': {'classifier': 'fc', 'mean': [0.7, 0.6, 0.5], 'std': [0.2] * 3},
    }
    files = {
        'config.json': lambda path: path.write_text(json.dumps(config)),
        'model.safetensors': lambda path: save_file(model.state_dict(), path),
    }
    put_into_cache(tmp_path, 'someone/own', files)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
    encoder = encoder_from_timm('hf-hub:someone/own')
    assert encoder.settings == {**encoder_from_timm('someone/own').settings, 'model': 'timm: hf-hub:someone/own'}
    torch.testing.assert_close(encoder.mean.flatten(), 255 * torch.tensor([0.7, 0.6, 0.5]))
    with torch.no_grad():
        normalised = (images / 255 - torch.tensor([0.7, 0.6, 0.5]).view(3, 1, 1)) / 0.2
        expected = model.forward_head(model.forward_features(normalised), pre_logits=True)
    torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)


def test_known_models_are_read_from_the_cache_too(monkeypatch, tmp_path):
    """A small stand-in for a known encoder: its weight file is found, and the normalisation is that of its card."""
    known = FOUNDATION_MODELS['bioptimus/H-optimus-0']._replace(architecture='test_vit', options={'img_size': 224})
    monkeypatch.setitem(FOUNDATION_MODELS, 'bioptimus/H-optimus-0', known)
    model = timm.create_model('test_vit', num_classes=0, img_size=224)
    put_into_cache(
        tmp_path, 'bioptimus/H-optimus-0', {'pytorch_model.bin': lambda path: torch.save(model.state_dict(), path)}
    )
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
    encoder = encoder_from_timm('hf-hub:bioptimus/H-optimus-0')
    assert encoder.settings['weights'] == weights_hash(model)
    torch.testing.assert_close(encoder.mean.flatten(), 255 * torch.tensor([0.707223, 0.578729, 0.703617]))
    assert str(encoder.checkpoint).endswith('pytorch_model.bin')


def test_errors_of_timm_weights(tmp_path):
    with pytest.raises(ValueError, match=r"timm cannot build 'no_such_net'.*Unknown model"):
        encoder_from_timm('no_such_net', random=True)
    state = timm.create_model('vit_tiny_patch16_224', num_classes=5).state_dict()
    for change, message in (
        (lambda: state.pop('norm.bias'), 'lacks 1 tensors, such as norm.bias'),
        (lambda: state.update({'norm.bias': torch.zeros(3)}), 'has another shape of 1 tensors, such as norm.bias'),
        (
            lambda: state.update({'norm.bias': torch.zeros(192), 'more': torch.zeros(1)}),
            'has besides 1 tensors, such as more',
        ),
    ):
        change()
        torch.save(state, tmp_path / 'weights.pth')
        with pytest.raises(TransferError, match=message):
            encoder_from_timm('vit_tiny_patch16_224', tmp_path / 'weights.pth')
