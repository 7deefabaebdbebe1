"""The command: patches and regions, the right network of a checkpoint, and bad input told in one sentence."""

import numpy as np
import pytest
import torch
from region_stores import write_regions
from small_runs import draw_patches, draw_slides
from tool_modules import load_tool

from histomm.datasets.transforms import read_image
from histomm.evaluation.encoder import build_part, model_config
from histomm.visualization.attention import class_attention
from histomm.wsi.token_store import TokenStoreWriter

PATCHES, REGIONS = 'configs/dino/dino_vit256-16_patches.py', 'configs/hipt/dino_vit4k-xs_regions.py'
ARCH = {f'model.backbone.arch.{name}': value for name, value in dict(
    embed_dims=12, num_layers=1, num_heads=2, feedforward_channels=12).items()}  # fmt: skip
SMALL = {
    PATCHES: {'model.backbone.arch': dict(embed_dims=12, num_layers=1, num_heads=2, feedforward_channels=12)},
    REGIONS: ARCH | {'model.backbone.in_channels': 8, 'model.backbone.grid_size': 4},
}


@pytest.fixture(autouse=True)
def _in_repository(repo, monkeypatch):
    monkeypatch.chdir(repo)


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/analysis/visualize_attention.py')


@pytest.fixture
def run(tool, repo, tmp_path, monkeypatch):
    """Writes student and teacher of a config, draws, and gives the networks and the lines that were drawn."""
    kept = []
    draw = tool.draw_activations
    monkeypatch.setattr(tool, 'draw_activations', lambda *args: kept.append(args) or draw(*args))

    def start(config, *words):
        cfg = model_config(config, SMALL[config])
        networks, state = {}, {}
        for seed, name in enumerate(('backbone', 'teacher.module.backbone')):
            networks[name] = build_part(cfg, cfg.model.backbone.to_dict()).eval()
            torch.manual_seed(seed)
            for parameter in networks[name].parameters():
                parameter.data = torch.randn_like(parameter)
            state |= {f'{name}.{key}': value for key, value in networks[name].state_dict().items()}
        torch.save({'state_dict': state}, tmp_path / 'weights.pth')
        words = [*words, '--out', tmp_path / 'attention.png']
        args = tool.parse_args([config, str(tmp_path / 'weights.pth'), *map(str, words)])
        args.cfg_options = SMALL[config]
        return networks, tool.run(args), kept[-1]

    return start


def test_images_in_their_order_by_the_teacher(run, tmp_path):
    paths = sorted(map(str, draw_patches(tmp_path, num=9, size=64).rglob('*.tif')))[3:1:-1]
    networks, said, (lines, names, _) = run(PATCHES, *paths)
    assert said == f'{tmp_path}/attention.png: 2 rows, 2 heads of teacher.module.backbone'
    assert names == ['mean of heads', 'head 0', 'head 1']
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    for line, path in zip(lines, paths, strict=True):
        assert line.name in path
        seen = line.panels[0].image
        inputs = torch.from_numpy(((seen - mean) / std).transpose(2, 0, 1)).float()[None]
        weights = class_attention(networks['teacher.module.backbone'], inputs)[0]
        tops = [weights.mean(dim=0).max(), *weights.flatten(1).max(dim=1).values]
        assert [panel.title for panel in line.panels] == [f'most {top:.3f}' for top in tops]
    assert (tmp_path / 'attention.png').is_file()


def test_regions_with_their_tissue_and_without(run, tmp_path):
    slides = draw_slides(tmp_path) / 'slides'
    name = sorted(path.name for path in slides.iterdir())[0]
    writer = TokenStoreWriter(tmp_path / 'tokens', 8, (4, 2), 'float32')
    writer.write(
        name, np.array([[32, 64]]), np.random.default_rng(0).normal(size=(1, 8, 8)).astype(np.float32), (128, 256)
    )
    writer.finish()
    _, said, (lines, _, _) = run(REGIONS, tmp_path / 'tokens', '--network', 'student', '--slides', slides)
    assert said.endswith('1 rows, 2 heads of backbone')
    picture = lines[0].panels[0].image
    assert picture.shape == (512, 256, 3)
    source = read_image(str(slides / name))[64:320, 32:160]
    assert abs(picture[::2, ::2].astype(int) - source).mean() < 12
    assert lines[0].name == 'x 32, y 64'
    _, _, (lines, _, _) = run(REGIONS, tmp_path / 'tokens')
    assert (lines[0].panels[0].image == 255).all()


def test_bad_input_is_told_in_one_sentence(run, tool, tmp_path):
    for words, message in (
        (['none.png', 'b.png'], r'none\.png: no such image'),
        (['none'], 'none: no such folder or list'),
        ([tmp_path, '--num', 0], 'no images below|--num is 0'),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            run(PATCHES, *words)
    store = write_regions(tmp_path / 'other', {'a': 2}, dim=6)
    with pytest.raises(ValueError, match='tokens have 6 numbers, expected 8'):
        run(REGIONS, store)
    with pytest.raises(SystemExit, match=r'visualize_attention: .*ResNet is no vision transformer'):
        run_resnet(tool, tmp_path)


def run_resnet(tool, folder):
    """Draw with a network that has no tokens."""
    config = 'configs/mocov2/mocov2_r18_nct.py'
    cfg = model_config(config)
    state = build_part(cfg, cfg.model.backbone.to_dict()).state_dict()
    torch.save({'state_dict': {f'backbone.{name}': value for name, value in state.items()}}, folder / 'r18.pth')
    image = sorted(draw_patches(folder, num=9, size=32).rglob('*.tif'))[0]
    tool.main([config, str(folder / 'r18.pth'), str(image), '--out', str(folder / 'a.png')])
