"""Which checkpoint tools/test.py takes."""

import pytest
from tool_modules import load_tool


@pytest.fixture(scope='module')
def find_checkpoint():
    return load_tool('tools/test.py').find_checkpoint


def test_a_file_is_taken_as_it_is(find_checkpoint, tmp_path):
    path = tmp_path / 'epoch_3.pth'
    path.touch()
    assert find_checkpoint(path) == path
    with pytest.raises(SystemExit, match=r'^checkpoint .*epoch_4\.pth: no such file$'):
        find_checkpoint(tmp_path / 'epoch_4.pth')


def test_of_a_folder_the_best_is_taken(find_checkpoint, tmp_path):
    for name in ('epoch_3.pth', 'last_checkpoint', 'best_regression_l1_epoch_2.pth'):
        (tmp_path / name).touch()
    assert find_checkpoint(tmp_path) == tmp_path / 'best_regression_l1_epoch_2.pth'


@pytest.mark.parametrize(
    ('names', 'found'), [((), 'none'), (('best_a_epoch_1.pth', 'best_b_epoch_2.pth'), 'best_a_epoch_1.pth, best_b_')]
)
def test_a_folder_without_one_best_is_refused(find_checkpoint, tmp_path, names, found):
    (tmp_path / 'epoch_3.pth').touch()
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(SystemExit, match=rf'expected one best_\*\.pth in the folder, .* found {found}'):
        find_checkpoint(tmp_path)
