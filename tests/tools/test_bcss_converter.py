"""The converter of BCSS on drawn regions: what it writes, what it counts, and what it does after it was stopped."""

import csv
import json

import cv2
import numpy as np
import pytest
from tool_modules import load_tool

from histomm.datasets.conversion import JOURNAL
from histomm.datasets.synthetic import write_layout


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/dataset_converters/bcss.py')


@pytest.fixture(scope='module')
def rois(tmp_path_factory):
    """Nine drawn regions of 100x70 pixels."""
    root = tmp_path_factory.mktemp('drawn') / 'rois'
    write_layout('bcss', root, 9, (100, 70), 0)
    return root


SMALL = ['--patch', '32', '--size', '16']


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def rows(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def converted(tool, rois, tmp_path_factory):
    out = tmp_path_factory.mktemp('converted') / 'BCSS'
    assert tool.main([str(rois), '--out', str(out), *SMALL]) == 0
    return out


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_patches_lie_on_their_regions(rois, converted):
    written = sorted(converted.glob('*/mask/*/*.png'))
    assert len(written) > 50
    for path in written:
        region, _, place = path.stem.partition('_MPP-0.5000_x')
        x, y = map(int, place.split('_y'))
        source = np.zeros((96, 128), np.uint8)
        source[:70, :100] = read(next((rois / 'masks').glob(f'{region}_*')))
        np.testing.assert_array_equal(read(path), source[y + 1 : y + 32 : 2, x + 1 : x + 32 : 2])
        image = np.full((96, 128, 3), 255.0)
        image[:70, :100] = read(next((rois / 'images').glob(f'{region}_*')))
        means = image[y : y + 32, x : x + 32].reshape(16, 2, 16, 2, 3).mean((1, 3))
        np.testing.assert_allclose(read(str(path).replace('/mask/', '/img/')), means, atol=0.51)


def test_no_participant_is_in_two_splits(converted):
    people = {
        split: {path.name for path in (converted / split / 'img').iterdir()} for split in ('train', 'val', 'test')
    }
    assert {name: len(found) for name, found in people.items()} == {'train': 3, 'val': 1, 'test': 3}
    assert len(set.union(*people.values())) == 7
    assert {name.split('-')[1] for name in people['test']} == {'OL', 'E2', 'LL'}
    assert (converted / 'participants.txt').read_text().split() == sorted(set.union(*people.values()))


def test_tables_account_for_every_patch_and_pixel(rois, converted):
    summary = rows(converted / 'summary.csv')
    assert len(summary) == 9
    assert all(int(row['patches']) + int(row['outside']) == 4 * 3 for row in summary)
    assert {(row['width'], row['height']) for row in summary} == {('100', '70')}
    for row in summary:
        own = list((converted / row['split'] / 'img' / row['participant']).glob(f'{row["region"]}_*'))
        assert len(own) == int(row['patches'])
        assert int(row['filled_up']) == sum('_x96_' in path.name or '_y64' in path.name for path in own)
    counted = np.zeros((22, 3), int)
    for column, split in enumerate(('train', 'val', 'test')):
        for path in (converted / split / 'mask').rglob('*.png'):
            counted[:, column] += np.bincount(read(path).ravel(), minlength=22)
    table = rows(converted / 'classes.csv')
    np.testing.assert_array_equal([[int(row[split]) for split in ('train', 'val', 'test')] for row in table], counted)
    assert [row['class'] for row in table][:3] == ['outside_roi', 'tumor', 'stroma']


def test_patches_of_code_zero_alone_are_counted_and_left_out(tool, rois, tmp_path, capsys):
    copy = tmp_path / 'rois'
    for path in sorted(rois.glob('*/*.png')):
        pixels = read(path)
        if path.parent.name == 'masks':
            pixels[:32] = 0
            pixels[33, 0] = 1  # in one of the patches below, between the pixels that are sampled
        (copy / path.parent.name).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(copy / path.parent.name / path.name), pixels)
    assert tool.main([str(copy), '--out', str(tmp_path / 'out'), *SMALL]) == 0
    summary = rows(tmp_path / 'out/summary.csv')
    assert all(int(row['outside']) >= 4 for row in summary)
    left_out = [int(line.partition('left out: ')[2].split()[0]) for line in capsys.readouterr().out.splitlines()[-6:]
                if 'left out' in line]  # fmt: skip
    assert sum(left_out) == sum(int(row['outside']) for row in summary)
    assert not list((tmp_path / 'out').rglob('*_y0.png'))
    assert all(read(path).any() for path in (tmp_path / 'out').rglob('mask/*/*.png'))


def test_borders_may_be_left_out_and_are_counted(tool, rois, converted, tmp_path):
    assert tool.main([str(rois), '--out', str(tmp_path / 'out'), *SMALL, '--border', 'drop']) == 0
    for padded, dropped in zip(rows(converted / 'summary.csv'), rows(tmp_path / 'out/summary.csv'), strict=True):
        assert int(dropped['border_dropped']) == int(padded['filled_up']) > 0
        assert int(dropped['patches']) == int(padded['patches']) - int(padded['filled_up'])
        assert int(dropped['filled_up']) == 0


def test_mmseg_reads_it(converted):
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    from histomm.registry import DATASETS

    pipeline = [dict(type='histomm.LoadPatch'), dict(type='mmseg.LoadAnnotations')]
    for split in ('train', 'val', 'test'):
        prefix = dict(img_path=f'{split}/img', seg_map_path=f'{split}/mask')
        config = dict(type='histomm.BCSSDataset', data_root=str(converted), data_prefix=prefix, pipeline=pipeline)
        dataset = DATASETS.build(config)
        assert len(dataset) == sum(int(r['patches']) for r in rows(converted / 'summary.csv') if r['split'] == split)
        assert dataset[len(dataset) - 1]['gt_seg_map'].shape == (16, 16)


# ---- stopped


def stop_at(tool, monkeypatch, number):
    """Let the converter be killed in the midst of a region's patches; gives the regions it begins."""
    begun, original = [], tool.write_region

    def write(region, split, out, args):
        begun.append(region.name)
        row = original(region, split, out, args)
        if len(begun) == number:
            masks = sorted(out.rglob(f'mask/*/{region.name}_*'))
            masks[0].write_bytes(masks[0].read_bytes()[:50])
            masks[1].unlink()
            raise KeyboardInterrupt
        return row

    monkeypatch.setattr(tool, 'write_region', write)
    return begun


def test_a_stopped_run_looks_unfinished_and_goes_on(tool, rois, converted, tmp_path, monkeypatch):
    out = tmp_path / 'BCSS'
    command = [str(rois), '--out', str(out), *SMALL]
    with monkeypatch.context() as patch:
        stop_at(tool, patch, 4)
        with pytest.raises(KeyboardInterrupt):
            tool.main(command)
    assert not out.exists()
    partial = tmp_path / 'BCSS.partial'
    with open(partial / JOURNAL, 'a') as journal:
        journal.write('["TCGA-half')
    begun = stop_at(tool, monkeypatch, 0)
    assert tool.main(command) == 0
    assert len(begun) == 6, 'the three that were finished are not done again'
    assert contents(out) == contents(converted)
    assert not partial.exists()


def test_other_options_begin_anew(tool, rois, converted, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'BCSS'
    with monkeypatch.context() as patch:
        stop_at(tool, patch, 4)
        with pytest.raises(KeyboardInterrupt):
            tool.main([str(rois), '--out', str(out), '--patch', '64', '--size', '16'])
    assert tool.main([str(rois), '--out', str(out), *SMALL]) == 0
    assert 'BCSS.partial was begun with other data or options' in capsys.readouterr().out
    assert contents(out) == contents(converted)


def test_a_whole_set_is_left_as_it_is(tool, rois, converted, capsys):
    before = contents(converted)
    assert tool.main([str(rois), '--out', str(converted), *SMALL]) == 0
    assert 'holds these patches already' in capsys.readouterr().out
    assert tool.main([str(rois), '--out', str(converted), *SMALL, '--seed', '1']) == 1
    assert 'holds what other data or options gave; choose a new' in capsys.readouterr().err
    assert contents(converted) == before


def test_the_empty_folder_one_is_in_will_do(tool, rois, converted, tmp_path, monkeypatch):
    (tmp_path / 'BCSS').mkdir()
    monkeypatch.chdir(tmp_path / 'BCSS')
    assert tool.main([str(rois), '--out', '.', *SMALL]) == 0
    assert contents(tmp_path / 'BCSS') == contents(converted)


def test_foreign_files_are_left_alone(tool, rois, tmp_path, capsys):
    for folder in ('out', 'new.partial'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'mine.txt').touch()
    assert tool.main([str(rois), '--out', str(tmp_path / 'out')]) == 1
    assert 'out holds other files' in capsys.readouterr().err
    assert tool.main([str(rois), '--out', str(tmp_path / 'new')]) == 1
    assert 'new.partial is in the way' in capsys.readouterr().err
    assert tool.main([str(rois), '--out', str(tmp_path / 'out/mine.txt')]) == 1
    assert 'mine.txt is a file; choose a new' in capsys.readouterr().err
    (tmp_path / 'late.partial').touch()
    assert tool.main([str(rois), '--out', str(tmp_path / 'late')]) == 1
    assert 'late.partial is in the way' in capsys.readouterr().err
    assert len(contents(tmp_path)) == 3


def test_missing_patches_are_noticed(tool, rois, tmp_path, monkeypatch, capsys):
    out, original = tmp_path / 'out', tool.write_region

    def lose(*args):
        row = original(*args)
        next(args[2].rglob('mask/*/*.png')).unlink()
        return row

    monkeypatch.setattr(tool, 'write_region', lose)
    assert tool.main([str(rois), '--out', str(out), *SMALL]) == 1
    assert 'patches, expected' in capsys.readouterr().err
    assert not out.exists()


# ---- participants of the pre-training


@pytest.mark.parametrize('kind', ['folder', 'list'])
def test_pretraining_on_the_test_set_is_refused(tool, rois, tmp_path, capsys, kind):
    names = ['TCGA-A7-Z000-01Z-00-DX1/0_0.png', 'TCGA-OL-Z001-01Z-00-DX1/0_512.png', 'TCGA-ZZ-ZZZZ/1.png']
    source = tmp_path / 'pretrain'
    if kind == 'list':
        source.write_text('\n'.join(names))
    else:
        for name in names:
            (source / name).parent.mkdir(parents=True)
            (source / name).touch()
    out = tmp_path / 'out'
    command = [str(rois), '--out', str(out), *SMALL, '--pretrain', str(source)]
    assert tool.main(command) == 1
    assert '1 of the 3 participants of the test data are in the pre-training data too, TCGA-OL-Z001' in (
        capsys.readouterr().err
    )
    assert not out.exists()
    assert not out.with_name('out.partial').exists()


def test_pretraining_on_others_is_fine(tool, rois, converted, tmp_path, capsys):
    (tmp_path / 'list.txt').write_text('TCGA-A7-Z000-01Z/1.png 0\nTCGA-ZZ-ZZZZ/1.png 1\n')
    command = [str(rois), '--out', str(converted), *SMALL, '--pretrain']
    assert tool.main([*command, str(tmp_path / 'list.txt')]) == 0
    assert '2 participants, none of them in the test set, 1 in train or val' in capsys.readouterr().out
    (tmp_path / 'list.txt').write_text('TUM/1.png\n')
    assert tool.main([*command, str(tmp_path / 'list.txt')]) == 1
    assert '--pretrain: pre-training data: none of 1 names has a TCGA barcode' in capsys.readouterr().err
    assert tool.main([*command, str(tmp_path / 'none')]) == 1
    assert 'neither a folder nor a list' in capsys.readouterr().err


def test_pretraining_is_not_compared_with_an_empty_test_set(tool, rois, tmp_path, capsys):
    for path in sorted(rois.glob('*/TCGA-[ABC]*.png')):
        (tmp_path / 'rois' / path.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / 'rois' / path.parent.name / path.name).symlink_to(path)
    (tmp_path / 'list.txt').write_text('TCGA-ZZ-ZZZZ/1.png\n')
    command = [str(tmp_path / 'rois'), '--out', str(tmp_path / 'out'), *SMALL, '--pretrain', str(tmp_path / 'list.txt')]
    assert tool.main(command) == 1
    assert '--pretrain: no region is of the test set, so nothing can be compared' in capsys.readouterr().err


def test_no_patch_at_all_is_an_error(tool, rois, tmp_path, capsys):
    out = tmp_path / 'out'
    assert tool.main([str(rois), '--out', str(out), '--border', 'drop']) == 1
    assert f'{rois} gives no patch: 0 have code 0 alone and --border leaves out 9' in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--patch', '500'], '--patch is 500 and --size 256, expected a multiple'),
        (['--val-share', '1'], '--val-share is 1.0, expected a share'),
    ],
)
def test_bad_options(tool, rois, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit):
        tool.main([str(rois), '--out', str(tmp_path / 'out'), *options])
    assert message in capsys.readouterr().err


def test_errors_of_the_data_end_in_one_sentence(tool, rois, tmp_path, capsys):
    assert tool.main([str(rois), '--out', str(tmp_path / 'out'), '--images', 'rgbs']) == 1
    assert capsys.readouterr().err.startswith(f'bcss: {rois}/rgbs is not a folder; {rois} holds images, masks;')
    assert tool.main([str(tmp_path / 'none'), '--out', str(tmp_path / 'out')]) == 1
    assert capsys.readouterr().err.startswith(f'bcss: {tmp_path}/none is not a folder; give')


def test_the_recipe_is_kept(converted):
    recipe = json.loads((converted / 'conversion.json').read_text())
    assert (recipe['patch'], recipe['size'], recipe['seed'], recipe['border']) == (32, 16, 0, 'pad')
