"""Participants of TCGA: found in any name, and kept apart."""

import pytest

from histomm.datasets import patients
from histomm.datasets.patients import (
    PatientOverlapError,
    check_disjoint,
    participants_of,
    read_names,
    read_participants,
    tcga_participant,
)


@pytest.mark.parametrize(
    ('name', 'participant'),
    [
        ('TCGA-A1-A0SK', 'TCGA-A1-A0SK'),
        ('TCGA-A1-A0SK-01Z-00-DX1.A44D70FA-4D96-43F4-9DD7-A61535786297.svs', 'TCGA-A1-A0SK'),
        ('images/TCGA-OL-A5RW-DX1_xmin100_ymin31_MPP-0.2500.png', 'TCGA-OL-A5RW'),
        ('data/TCGA-BRCA-100K/tcga-a7-a0d9-01z-00-dx1/12_4.png', 'TCGA-A7-A0D9'),
        ('TCGA-E2-A1LS/TCGA-E2-A1LS-01Z.svs', 'TCGA-E2-A1LS'),
        ('patch_TCGA-E2-A1LS_3.png', 'TCGA-E2-A1LS'),
        ('data/TCGA-BRCA/slide.svs', None),
        ('TCGA-A1-A0SKX.png', None),  # five characters are no participant
        ('TCGA-A1-A0S.png', None),
        ('XTCGA-A1-A0SK.png', None),
        ('train_1.bmp', None),
    ],
)
def test_participant_of_a_name(name, participant):
    assert tcga_participant(name) == participant


def test_two_participants_in_one_name_are_refused():
    with pytest.raises(ValueError, match='2 participants, TCGA-A1-A0SK, TCGA-E2-A1LS'):
        tcga_participant('TCGA-A1-A0SK/TCGA-E2-A1LS.png')


def test_participants_and_names_without():
    found, unnamed = participants_of(['b.png', 'TCGA-A1-A0SK/1.png', 'a.png', 'TCGA-A1-A0SK/2.png', 'TCGA-E2-A1LS.svs'])
    assert found == {'TCGA-A1-A0SK', 'TCGA-E2-A1LS'}
    assert unnamed == ['b.png', 'a.png']


def test_disjoint_sides_pass_and_shared_participants_are_named():
    slides = [f'TCGA-AA-{number:04}-01Z-00-DX1.svs' for number in range(9)]
    check_disjoint(slides[:5], slides[5:])
    with pytest.raises(
        PatientOverlapError, match=r'1 of the 4 participants of the test data .* TCGA-AA-0005, expected'
    ):
        check_disjoint(slides[:6], ['tcga-aa-0005-01A-another-slide.png', *slides[6:]])
    with pytest.raises(PatientOverlapError, match=r'7 of the 7 .*val.* TCGA-AA-0002, TCGA-AA-0003.*TCGA-AA-0006, …,'):
        check_disjoint(slides, slides[2:], labels=('train', 'val'))


def test_names_without_barcode_are_counted_and_shown(monkeypatch):
    lines = []
    monkeypatch.setattr(patients, 'print_log', lambda text, logger, level: lines.append(text))
    check_disjoint(['TCGA-AA-0001', 'x.png', 'y.png'], ['TCGA-AA-0002'])
    assert lines == ['pre-training data: 2 of 3 names have no TCGA barcode and were not compared: x.png, y.png']


@pytest.mark.parametrize('empty', [[], ['train_1.bmp', 'train_2.bmp']])
def test_a_side_without_any_barcode_is_no_proof(empty):
    with pytest.raises(ValueError, match=f'test data: none of {len(empty)} names'):
        check_disjoint(['TCGA-AA-0001'], empty)


def test_names_of_folders_and_lists(tmp_path):
    for name in ('TCGA-AA-0002/b.png', 'TCGA-AA-0001/a.png', '.hidden/TCGA-AA-0003.png'):
        (tmp_path / 'slides' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'slides' / name).touch()
    folder = tmp_path / 'slides'
    assert read_names(folder) == [f'{folder}/TCGA-AA-0001/a.png', f'{folder}/TCGA-AA-0002/b.png']
    listed = tmp_path / 'participants.txt'
    listed.write_text('TCGA-AA-0002\n\n  TCGA-AA-0001-01Z.svs  \n')
    assert read_names(listed) == ['TCGA-AA-0002', 'TCGA-AA-0001-01Z.svs']
    assert read_participants(listed) == {'TCGA-AA-0001', 'TCGA-AA-0002'}


def test_bad_lists_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='neither a folder nor a list'):
        read_names(tmp_path / 'nothing')
    with pytest.raises(FileNotFoundError, match=r'list of participants .* does not exist'):
        read_participants(tmp_path)
    listed = tmp_path / 'participants.txt'
    listed.write_text('\n')
    with pytest.raises(ValueError, match='holds no names'):
        read_participants(listed)
    listed.write_text('TCGA-AA-0002\nTCGA-AA-2\n')
    with pytest.raises(ValueError, match="the line 'TCGA-AA-2', expected a TCGA barcode"):
        read_participants(listed)
    listed.write_bytes(b'\x89PNG')
    with pytest.raises(ValueError, match=r'participants.txt is no text, expected a folder, or a list'):
        read_names(listed)
