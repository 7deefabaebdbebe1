"""Tokens of regions and features of regions, from slides to files, each against the network called by hand."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from region_stores import draw_tokens
from small_slides import break_tile, draw_slide
from tile_runs import failures, files
from tool_modules import load_tool

from histomm.evaluation.feature_store import read_features
from histomm.evaluation.region_tokens import RegionPatches, SlideTokens, extract_tokens
from histomm.models import PatchViT, RegionViT
from histomm.wsi.locks import file_lock
from histomm.wsi.reader import open_slide
from histomm.wsi.tile_table import concat_tiles, read_tiles, tiles_of_slide, write_tiles
from histomm.wsi.token_store import TokenStore, TokenStoreWriter

PATCH = dict(arch=dict(embed_dims=12, num_layers=1, num_heads=2, feedforward_channels=24), img_size=16, patch_size=8)
REGION = dict(in_channels=12, grid_size=3, arch=dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=16))
PLACES = np.array([[0, 0], [64, 64], [192, 128]])


def networks(kind, options, path):
    """Config and checkpoint of a DINO whose student and teacher differ; the two networks."""
    path.mkdir()
    state, pair = {}, []
    for seed, prefix in ((0, 'backbone'), (1, 'teacher.module.backbone')):
        torch.manual_seed(seed)
        network = kind(**options)
        for value in network.parameters():
            torch.nn.init.normal_(value, std=0.2)
        state |= {f'{prefix}.{name}': value for name, value in network.state_dict().items()}
        pair.append(network.eval())
    torch.save({'state_dict': state}, path / 'epoch_1.pth')
    backbone = dict(type=f'histomm.{kind.__name__}', **options)
    (path / 'config.py').write_text(
        f"default_scope = 'histomm'\nmodel = dict(type='histomm.DINO', backbone={backbone!r})\n"
    )
    return path / 'config.py', path / 'epoch_1.pth', *pair


@pytest.fixture(scope='module')
def patch_network(tmp_path_factory):
    return networks(PatchViT, PATCH, tmp_path_factory.mktemp('patch') / 'run')


@pytest.fixture(scope='module')
def region_network(tmp_path_factory):
    return networks(RegionViT, REGION, tmp_path_factory.mktemp('region') / 'run')


@pytest.fixture(scope='module')
def slides(tmp_path_factory):
    """Three slides with three regions of 64 px each, and their table."""
    root = tmp_path_factory.mktemp('slides')
    tables = []
    for number, name in enumerate(('a.tif', 'b.tif', 'deep/c.tif')):
        draw_slide(root / 'slides' / name, number, width=300, height=260)
        tables.append(tiles_of_slide(name, PLACES, 64, 0.5, np.ones(3)))
    write_tiles(root / 'tiles.parquet', concat_tiles(tables, dict(mpp=0.5)))
    return root


def call(name, *words):
    """Exit status of a tool of ``tools/wsi``, or what it said at its end."""
    try:
        load_tool(f'tools/wsi/{name}.py').main([str(word) for word in words])
    except SystemExit as error:
        return error.code
    return 0


def extract(slides, network, out, *options, root=None):
    """Exit status of the extraction of all regions of ``slides``."""
    words = [*network[:2], root or slides / 'slides', '--tiles', slides / 'tiles.parquet', '--out', out]
    return call('extract_region_tokens', *words, '--patch', 16, '--workers', 0, '--store', 'float32', *options)


@pytest.fixture(scope='module')
def tokens(slides, patch_network, tmp_path_factory):
    out = tmp_path_factory.mktemp('tokens') / 'store'
    assert extract(slides, patch_network, out) == 0
    return out


@torch.inference_mode()
def test_tokens_are_those_of_the_patches(slides, patch_network, tokens, tmp_path):
    """Each patch read by itself, scaled by halves, through the teacher; the student gives others."""
    store = TokenStore(tokens)
    assert (store.dim, store.grid) == (12, (4, 4))
    assert store.slides == ['a.tif', 'b.tif', 'deep/c.tif']
    assert store.spans.tolist() == [[64.0, 64.0]] * 9
    assert store.coords.tolist() == PLACES.tolist() * 3
    student, teacher = patch_network[2:]
    with open_slide(slides / 'slides/b.tif') as slide:
        for row, column in itertools.product(range(4), repeat=2):
            pixels = slide.read(64 + 16 * column, 64 + 16 * row, 16, 16)
            patch = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255
            expected = teacher((patch - 0.5) / 0.5)[-1][0]
            torch.testing.assert_close(torch.tensor(store.tokens(4)[row, column]), expected, rtol=1e-4, atol=1e-5)
    assert extract(slides, patch_network, tmp_path / 's', '--network', 'student', '--normalise', 'config') == 0
    other = TokenStore(tmp_path / 's')
    pixels = torch.tensor(pixels).permute(2, 0, 1)[None].float()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
    expected = student((pixels - mean) / std)[-1][0]
    torch.testing.assert_close(torch.tensor(other.tokens(4)[3, 3]), expected, rtol=1e-4, atol=1e-5)
    assert other.digest != store.digest


def test_a_run_that_was_stopped_goes_on(slides, patch_network, tokens, tmp_path):
    """Stopped after one slide and in the middle of the next; two loader processes end it, to the same bytes."""
    tool = load_tool('tools/wsi/extract_region_tokens.py')
    words = [*patch_network[:2], slides / 'slides', '--tiles', slides / 'tiles.parquet', '--out', tmp_path / 's']
    args = tool.parse_args([*map(str, words), '--patch', '16', '--store', 'float32'])
    regions, encoder = read_tiles(args.tiles), tool.build_encoder(args)
    writer = tool.open_writer(args, encoder, regions)
    work = extract_tokens(encoder, RegionPatches(args.slides, regions, 16), writer)
    assert next(work)[:3] == ('a.tif', 'done', 3)
    work.close()
    assert [writer.has(name) for name in ('a.tif', 'b.tif')] == [True, False]
    assert extract(slides, patch_network, tmp_path / 's', '--workers', 2) == 0
    assert files(tmp_path / 's') == files(tokens)
    assert extract(slides, patch_network, tmp_path / 's') == 0
    assert files(tmp_path / 's') == files(tokens)


def test_a_bad_slide_is_named_and_stops_no_other(slides, patch_network, tokens, tmp_path, capsys):
    root = tmp_path / 'slides'
    shutil.copytree(slides / 'slides', root)
    break_tile(root / 'b.tif', 0)
    (root / 'deep/c.tif').unlink()
    assert extract(slides, patch_network, tmp_path / 's', root=root) == 1
    said = capsys.readouterr()
    assert '3 slides: 1 done, 0 done before, 2 failed (see' in said.out
    assert 'failed: b.tif: ' in said.err
    assert 'region x 0 to 64, y 0 to 64 of level 0 cannot be read' in failures(tmp_path / 's')['b.tif']
    assert 'c.tif' in failures(tmp_path / 's')['deep/c.tif']
    assert TokenStore(tmp_path / 's').slides == ['a.tif']
    assert extract(slides, patch_network, tmp_path / 's') == 0
    assert not (tmp_path / 's' / 'failures.csv').exists()
    first, second = TokenStore(tokens), TokenStore(tmp_path / 's')
    assert second.slides == first.slides
    assert np.array_equal(first.read(range(9)), second.read(range(9)))


def test_runs_on_one_folder_keep_the_failures_of_each_other(slides, patch_network, tokens, tmp_path):
    """A run that ends while another is on its way: neither loses a slide of the other, nor keeps one that is there."""
    tool = load_tool('tools/wsi/extract_region_tokens.py')
    out = tmp_path / 's'
    shutil.copytree(tokens, out)
    settings = TokenStore(out).settings
    sizes = {name: settings.pop(name) for name in ('dim', 'grid', 'dtype')}
    here, there = (TokenStoreWriter(out, *sizes.values(), settings) for _ in range(2))
    there.write('new.tif', np.zeros((1, 2)), np.zeros((1, 16, 12)), (64, 64))
    tool.summarise(out, there, [SlideTokens('new.tif', 'done', 1), SlideTokens('x.tif', 'failed', 1, 'cut, off')])
    reports = [SlideTokens('new.tif', 'failed', 1, 'busy disk'), SlideTokens('y.tif', 'failed', 1, 'no mpp')]
    tool.summarise(out, here, reports)
    assert failures(out) == {'x.tif': 'cut, off', 'y.tif': 'no mpp'}
    tool.summarise(out, here, [SlideTokens('a.tif', 'there', 3)])
    assert failures(out) == {'x.tif': 'cut, off', 'y.tif': 'no mpp'}


def test_a_slide_of_another_run_is_left_to_it(slides, patch_network, tmp_path, capsys):
    with file_lock(tmp_path / 's/.locks/slides/b.tif.lock'):
        assert extract(slides, patch_network, tmp_path / 's') == 1
    said = capsys.readouterr()
    assert '2 done, 0 done before, 0 failed, 1 under way in another run; 6 regions' in said.out
    assert 'busy: b.tif' in said.err


def test_what_extraction_refuses(slides, patch_network, region_network, tokens, tmp_path):
    said = extract(slides, patch_network, tmp_path / 's', '--patch', 24)
    assert 'the regions of the tile table are 64 px, expected one side, a multiple of 24 px, the patch' in said
    said = extract(slides, patch_network, tokens, '--network', 'student')
    assert 'was made with encoder = ' in said
    assert 'tokens of both cannot be mixed: choose another folder' in said
    said = extract(slides, (patch_network[0], region_network[1]), tmp_path / 's')
    assert 'tensor cls_token has shape (1, 1, 8), the model PatchViT expects (1, 1, 12)' in said
    assert 'folder of slides not found' in extract(slides, patch_network, tmp_path / 's', root=tmp_path / 'none')
    write_tiles(tmp_path / 'tiles.parquet', tiles_of_slide('a.tif', PLACES[:0], 64, 0.5, np.ones(0)))
    shutil.copytree(slides / 'slides', tmp_path / 'slides')
    assert 'the regions of the tile table are none' in extract(tmp_path, patch_network, tmp_path / 's')
    assert not (tmp_path / 's').exists()


@torch.inference_mode()
def test_features_of_regions(tokens, region_network, tmp_path, capsys):
    """The teacher's vectors of whole grids, in a file a slide; a second run leaves them; the student gives others."""
    words = [*region_network[:2], tokens, '--out']
    assert call('embed_regions', *words, tmp_path / 'teacher', '--batch-size', 2) == 0
    assert call('embed_regions', *words, tmp_path / 'student', '--network', 'student') == 0
    store = TokenStore(tokens)
    for name, network in zip(('student', 'teacher'), region_network[2:], strict=True):
        expected = network(torch.from_numpy(store.read(range(9))))[-1]
        for number, slide in enumerate(('a', 'b', 'deep/c')):
            found = read_features(tmp_path / name / f'{slide}.h5')
            rows = slice(3 * number, 3 * number + 3)
            torch.testing.assert_close(torch.from_numpy(found.features), expected[rows], rtol=1e-4, atol=1e-5)
            assert found.coords.tolist() == PLACES.tolist()
            assert set(found.names) == {f'{slide}.tif'}
    before = files(tmp_path / 'teacher')
    capsys.readouterr()
    assert call('embed_regions', *words, tmp_path / 'teacher', '--batch-size', 2) == 0
    assert '3 of 3 slides' in capsys.readouterr().out
    assert files(tmp_path / 'teacher') == before
    assert 'was made with weights = ' in call('embed_regions', *words, tmp_path / 'teacher', '--network', 'student')


def test_tokens_as_bags_of_patches(tokens, tmp_path):
    assert call('embed_regions', tokens, '--patches', '--out', tmp_path) == 0
    found, store = read_features(tmp_path / 'b.h5'), TokenStore(tokens)
    assert found.features.shape == (48, 12)
    for number in (0, 7, 16, 47):
        region, (row, column) = number // 16, divmod(number % 16, 4)
        assert np.array_equal(found.features[number], store.tokens(3 + region)[row, column])
        assert found.coords[number].tolist() == (PLACES[region] + 16 * np.array([column, row])).tolist()


def test_what_embedding_refuses(region_network, tmp_path, capsys):
    store = draw_tokens(tmp_path, dim=6, slides=2, regions=1, grid=4)
    said = call('embed_regions', *region_network[:2], store, '--out', tmp_path / 'f')
    assert 'a grid of shape (1, 6, 4, 4), expected (B, 12, H, W)' in said
    assert call('embed_regions', store, '--out', tmp_path / 'f') == 2
    assert 'found 1 words' in capsys.readouterr().err
    assert 'index.parquet does not exist' in call('embed_regions', tmp_path, '--patches', '--out', tmp_path / 'f')
    with file_lock(tmp_path / 'f/.slide_0.h5.lock'):
        assert call('embed_regions', store, '--patches', '--out', tmp_path / 'f') == 1
    assert 'slide_0.h5: left out' in capsys.readouterr().err
    assert [path.name for path in (tmp_path / 'f').glob('*.h5')] == ['slide_1.h5']
