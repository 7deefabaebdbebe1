"""Patches with a value: read from lists, checked against the range."""

import pytest
from PIL import Image

from histomm.datasets import ValuePatchDataset


@pytest.fixture
def folder(tmp_path):
    for name in 'ab':
        Image.new('RGB', (4, 4)).save(tmp_path / f'{name}.png')
    return tmp_path


def load(folder, text, name='list.csv', **options):
    (folder / name).write_text(text)
    return ValuePatchDataset(name, data_root=str(folder), **options)


def test_values_come_from_a_table_or_a_list(folder):
    table = load(folder, 'path,cellularity\nb.png,12.5\na.png,100\n', label_column='cellularity')
    assert [float(table.get_data_info(i)['gt_score'][0]) for i in range(2)] == [12.5, 100]
    assert table.get_data_info(0)['img_path'].endswith('b.png')
    assert [float(sample['gt_score'][0]) for sample in load(folder, 'a.png 3\nb.png 0.25\n', 'list.txt')] == [3, 0.25]


@pytest.mark.parametrize('value', ['101', '-1', 'much', '', 'nan'])
def test_values_out_of_range_are_refused(folder, value):
    with pytest.raises(ValueError, match=r'a\.png has the value .*, expected a number from 0.0 to 100.0'):
        load(folder, f'path,label\na.png,{value}\n')


def test_a_list_is_needed(folder):
    with pytest.raises(ValueError, match='expected a list_file with a number for each image'):
        ValuePatchDataset('', data_root=str(folder))
