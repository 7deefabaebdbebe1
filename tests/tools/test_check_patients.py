"""check_patients: exit code and words."""

import pytest
from tool_modules import load_tool


@pytest.fixture
def main():
    return load_tool('tools/dataset_converters/check_patients.py').main


@pytest.fixture
def slides(tmp_path):
    for name in ('TCGA-AA-0001-01Z.svs', 'sub/TCGA-AA-0002-01Z/7.png', 'notes.txt'):
        path = tmp_path / 'slides' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / 'slides'


def test_sides_apart(main, slides, tmp_path, capsys):
    (tmp_path / 'test.txt').write_text('TCGA-AA-0003\nTCGA-AA-0004-01Z-00-DX1_xmin3.png\n')
    assert main([str(slides), str(tmp_path / 'test.txt')]) == 0
    printed = capsys.readouterr().out
    assert f'{slides}: 3 names, 2 participants, 1 names without a barcode' in printed
    assert 'test.txt: 2 names, 2 participants, 0 names without a barcode' in printed


def test_overlap_fails_and_names_the_participant(main, slides, tmp_path, capsys):
    (tmp_path / 'test.txt').write_text('TCGA-AA-0003\ntcga-aa-0002\n')
    assert main([str(slides), str(tmp_path / 'test.txt')]) == 1
    assert '1 of the 2 participants' in (printed := capsys.readouterr().err)
    assert 'TCGA-AA-0002' in printed


def test_what_cannot_be_compared_fails(main, slides, tmp_path, capsys):
    (tmp_path / 'test.txt').write_text('train_1.bmp\n')
    assert main([str(slides), str(tmp_path / 'test.txt')]) == 1
    assert 'none of 1 names has a TCGA barcode' in capsys.readouterr().err
    assert main([str(slides), str(tmp_path / 'missing')]) == 1
    assert 'neither a folder nor a list' in capsys.readouterr().err
