"""The doctor: every fault is planted on purpose, found, and named; a sound set-up has none."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from histomm.doctor import environment
from histomm.doctor.config_check import check_config, walk
from histomm.doctor.data_check import spread
from histomm.doctor.findings import Report


def fake_distribution(folder: Path, name: str, version: str) -> None:
    info = folder / f'{name.replace("-", "_")}-{version}.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')


def lines(report: Report) -> str:
    return '\n'.join(finding.line() for finding in report.faults)


# ---- the installation


def test_command_reports_clashes_and_exits_with_one(repo, tmp_path):
    fake_distribution(tmp_path, 'mmcv', '2.2.0')
    fake_distribution(tmp_path, 'opencv-python-headless', '4.12.0')
    code = f'import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ["doctor"]; import runpy; '
    code += f'runpy.run_path({str(repo / "tools/doctor.py")!r}, run_name="__main__")'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=repo)
    faults = [line for line in done.stdout.splitlines() if line.startswith('FAULT')]
    assert done.returncode == 1, done.stderr
    assert len(faults) == 2
    assert done.stdout.splitlines()[-1] == '2 faults'
    assert 'mmcv 2.2.0 and onedl-mmcv' in faults[0]
    assert 'opencv-python-headless 4.12.0' in faults[1]
    assert 'uninstall' in faults[1]


@pytest.mark.parametrize('ours', sorted(environment.UPSTREAM))
def test_upstream_beside_onedl(ours, tmp_path, monkeypatch):
    for name in (ours, environment.UPSTREAM[ours][0]):
        fake_distribution(tmp_path, name, '9.9.9')
    monkeypatch.syspath_prepend(str(tmp_path))
    report = Report()
    environment.check_clashes(report)
    assert [finding.where for finding in report.faults] == [environment.UPSTREAM[ours][0]]


def test_upstream_alone_is_only_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, 'installed', {'mmcv': '2.2.0'}.get)
    report = Report()
    environment.check_clashes(report)
    assert [(finding.where, finding.fault) for finding in report.findings] == [('mmcv', False)]


def test_missing_distributions(monkeypatch):
    monkeypatch.setattr(environment, 'installed', {'torch': '2.14.1', 'mmcv': '2.2.0'}.get)
    report = Report()
    environment.check_versions(report)
    faults = {finding.where for finding in report.faults}
    assert faults == {'torchvision', 'onedl-mmengine', 'onedl-mmpretrain', 'numpy', 'opencv-python'}
    assert dict(report.rows)['onedl-mmcv'] == '2.2.0 (mmcv)'
    assert 'onedl-mmdetection' in {finding.where for finding in report.findings if not finding.fault}


def test_torchvision_for_another_torch(monkeypatch):
    monkeypatch.setattr(environment, 'installed', {'torch': '2.13.0+cpu', 'torchvision': '0.29.1'}.get)
    monkeypatch.setattr(environment, 'requires', lambda name: ['numpy', 'torch==2.14.1', 'pillow!=8.3.*,>=5.3.0'])
    report = Report()
    environment.check_torchvision(report)
    assert 'was made for torch 2.14.1, found torch 2.13.0' in lines(report)


# ---- compiled parts; stand-ins for torch and mmcv shadow the real ones in the interpreter of the probe


@pytest.fixture
def shadow(tmp_path, monkeypatch):
    def write(**files):
        for name, text in files.items():
            path = tmp_path / 'shadow' / f'{name.replace("__", "/")}.py'
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / '__init__.py').touch()
            path.write_text(textwrap.dedent(text))
        monkeypatch.setattr(sys, 'path', [str(tmp_path / 'shadow'), *sys.path])

    return write


STAND_IN = """
    class tensor(list):
        def to(self, device):
            return self

        def tolist(self):
            return list(self)

    class cuda:
        is_available = staticmethod(lambda: False)
"""
OPS = """
    import torch
    def nms(boxes, scores, threshold):
        return boxes, torch.tensor({kept})
    def get_compiler_version():
        return 'X'
    get_compiling_cuda_version = get_compiler_version
"""


def ops_report(need_ops: bool = False) -> Report:
    report = Report()
    environment.check_ops(report, need_ops)
    return report


def test_ops_that_answer_right(shadow):
    shadow(torch=STAND_IN, mmcv__ops=OPS.format(kept=[0, 2, 3]))
    assert environment.run_probe('ops') == (True, 'nms correct; compiler X, CUDA X')


def test_ops_that_answer_wrong(shadow):
    pytest.importorskip('mmcv._ext')
    shadow(torch=STAND_IN, mmcv__ops=OPS.format(kept=[0, 1, 2]))
    assert 'nms on cpu kept the boxes [0, 1, 2], expected [0, 2, 3]' in lines(ops_report())


def test_ops_of_another_torch(shadow):
    pytest.importorskip('mmcv._ext')
    shadow(torch=STAND_IN, mmcv__ops='raise ImportError("mmcv/_ext.so: undefined symbol: _ZN2at4")')
    text = lines(ops_report())
    assert 'built for another torch' in text
    assert 'install_mmcv.py' in text


def test_ops_that_kill_the_interpreter(shadow):
    pytest.importorskip('mmcv._ext')
    shadow(torch=STAND_IN, mmcv__ops='import os; os.kill(os.getpid(), 11)')
    assert 'killed by signal 11' in lines(ops_report())


def test_ops_that_load_by_luck(shadow, tmp_path, monkeypatch):
    pytest.importorskip('mmcv._ext')
    shadow(torch=STAND_IN, mmcv__ops=OPS.format(kept=[0, 2, 3]))
    note = tmp_path / '.histomm' / 'mmcv-built-for'
    note.parent.mkdir()
    monkeypatch.setattr(environment.sys, 'prefix', str(tmp_path))
    note.write_text(f'torch{torch.__version__}-cpython-311-cpu\n')
    assert not ops_report().faults
    note.write_text('torch1.0.0-cpython-311-cpu\n')
    assert f'built for torch 1.0.0, found torch {torch.__version__}' in lines(ops_report())


def test_absent_ops_are_a_fault_only_on_request(monkeypatch):
    monkeypatch.setattr(environment, 'find_spec', lambda name: None)
    assert [finding.fault for finding in ops_report().findings] == [False]
    assert [finding.fault for finding in ops_report(need_ops=True).findings] == [True]


def test_opencv_without_system_libraries(shadow):
    shadow(cv2='raise ImportError("libGL.so.1: cannot open shared object file")')
    report = Report()
    environment.check_opencv(report)
    assert 'apt-get install libgl1' in lines(report)


# ---- a config


@pytest.fixture
def patches(tmp_path):
    """Two classes of three patches."""
    rng = np.random.default_rng(0)
    for name in ('STR', 'TUM'):
        (tmp_path / 'patches' / name).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'patches' / name / f'{number}.png')
    return tmp_path / 'patches'


def examine(tmp_path: Path, text: str) -> Report:
    config = tmp_path / 'config.py'
    config.write_text(textwrap.dedent(text))
    report = Report()
    check_config(report, str(config))
    return report


CLASSIFIER = """
    default_scope = 'histomm'
    train_dataloader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=dict(
        type='PatchDataset', data_root={root!r}, with_labels=True, pipeline=[dict(type='LoadPatch')]{more})))
    model = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmpretrain.ResNet', depth=18{init}),
        head=dict(type='mmpretrain.LinearClsHead', num_classes={num}, in_channels=512),
    )
"""


def classifier(tmp_path, root, more='', init='', num=2) -> Report:
    return examine(tmp_path, CLASSIFIER.format(root=str(root), more=more, init=init, num=num))


def test_sound_config(tmp_path, patches):
    report = classifier(tmp_path, patches)
    assert report.findings == []
    assert dict(report.rows)['train_dataloader.dataset'] == '6 samples, 2 classes (PatchDataset)'
    assert report.text().endswith('no faults')


BATCHES = """
    default_scope = 'histomm'
    train_dataloader = dict(batch_size={batch}, drop_last={drop}, dataset=dict(
        type='PatchDataset', data_root={root!r}, pipeline=[dict(type='LoadPatch')]))
    train_cfg = dict(by_epoch=True, max_epochs=1)
"""


@pytest.mark.parametrize(('batch', 'drop', 'told'), [(6, True, 0), (7, True, 1), (7, False, 0)])
def test_batch_larger_than_the_data_set(tmp_path, patches, batch, drop, told):
    report = examine(tmp_path, BATCHES.format(batch=batch, drop=drop, root=str(patches)))
    assert len(report.findings) == told
    assert any('7 is more than the 6 samples' in finding.what for finding in report.findings) == bool(told)


def test_folder_that_does_not_exist(tmp_path):
    report = classifier(tmp_path, tmp_path / 'nowhere')
    assert len(report.faults) == 1
    assert report.faults[0].where == 'train_dataloader.dataset.dataset.data_root'
    assert f'{tmp_path / "nowhere"} does not exist' in lines(report)


def test_one_of_several_folders_is_missing(tmp_path, patches):
    text = CLASSIFIER.replace('{root!r}', '{root}').format(root=[str(patches), '/nowhere'], more='', init='', num=2)
    report = examine(tmp_path, text)
    assert [finding.what for finding in report.faults] == ['/nowhere does not exist']


def test_empty_folder(tmp_path):
    (tmp_path / 'empty').mkdir()
    report = classifier(tmp_path, tmp_path / 'empty')
    assert len(report.faults) == 1
    assert 'no images below' in lines(report)


def test_list_that_names_missing_files(tmp_path, patches):
    (patches / 'list.txt').write_text('STR/0.png 0\nSTR/9.png 1\n')
    assert 'STR/9.png' in lines(classifier(tmp_path, patches, more=", list_file='list.txt'"))


def test_truncated_image(tmp_path, patches):
    path = patches / 'STR' / '1.png'
    path.write_bytes(path.read_bytes()[:200])
    report = classifier(tmp_path, patches)
    assert len(report.faults) == 1
    assert str(path) in lines(report)
    report = classifier(tmp_path, patches, more=", unreadable='skip'")
    assert not report.faults
    assert str(path) in report.findings[0].what


def test_single_pixel(tmp_path, patches):
    Image.new('RGB', (1, 1)).save(patches / 'TUM' / '0.png')
    assert 'is only 1x1 pixels' in lines(classifier(tmp_path, patches))


def test_number_of_classes(tmp_path, patches):
    report = classifier(tmp_path, patches, num=9)
    assert [finding.where for finding in report.faults] == ['model.head']
    assert 'num_classes=9, but train_dataloader.dataset.dataset has 2 classes' in lines(report)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('model = dict(', 'SyntaxError'),
        ('_base_ = "./gone.py"', 'gone.py'),
        ('model = undefined', 'NameError'),
        ("_base_ = 'histomm::plm/gone.py'", 'gone.py'),
    ],
)
def test_config_that_does_not_load(tmp_path, text, said):
    report = examine(tmp_path, text)
    assert len(report.faults) == 1
    assert said in lines(report)


def test_unknown_type(tmp_path):
    report = examine(tmp_path, "default_scope = 'histomm'\ntrain_dataloader = dict(dataset=dict(type='Nonsense'))")
    assert 'Nonsense' in lines(report)


def test_library_that_is_missing(tmp_path, monkeypatch):
    from histomm.doctor import config_check

    monkeypatch.setattr(config_check, 'find_spec', lambda name: None if name in ('mmdet', 'mmcv._ext') else True)
    report = examine(tmp_path, "default_scope = 'histomm'\nmodel = dict(type='mmdet.MaskRCNN')")
    assert {finding.where for finding in report.faults} == {'mmdet', 'compiled ops'}


def test_segmentation_needs_the_ops_too(tmp_path, monkeypatch):
    from histomm.doctor import config_check

    monkeypatch.setattr(config_check, 'find_spec', lambda name: None if name == 'mmcv._ext' else True)
    report = examine(tmp_path, "default_scope = 'histomm'\nmodel = dict(type='mmseg.EncoderDecoder')")
    assert 'the config uses mmseg, and mmcv has no compiled ops' in lines(report)


# ---- weights


@pytest.fixture(scope='module')
def resnet18():
    from mmpretrain.models import ResNet

    return ResNet(depth=18).state_dict()


def init_cfg(path, more='', kind='Pretrained') -> str:
    return f', init_cfg=dict(type={kind!r}, checkpoint={str(path)!r}{more})'


@pytest.mark.parametrize('kind', ['Pretrained', 'histomm.VerifiedPretrained', 'histomm.PretrainedIfPresent'])
def test_weights(tmp_path, patches, resnet18, kind):
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict={f'backbone.{name}': value for name, value in resnet18.items()}), path)
    report = classifier(tmp_path, patches, init=init_cfg(path, ", prefix='backbone.'", kind))
    assert report.findings == []
    assert 'fit mmpretrain.ResNet' in dict(report.rows)['model.backbone.init_cfg']


@pytest.mark.parametrize('kind', ['Pretrained', 'histomm.VerifiedPretrained'])
@pytest.mark.parametrize('fault', ['missing', 'shape'])
def test_weights_of_another_architecture(tmp_path, patches, resnet18, kind, fault):
    tensors = dict(resnet18)
    name = 'layer3.0.conv1.weight'
    if fault == 'missing':
        del tensors[name]
    else:
        tensors[name] = torch.zeros(8, 8, 3, 3)
    path = tmp_path / 'weights.pth'
    torch.save(tensors, path)
    report = classifier(tmp_path, patches, init=init_cfg(path, kind=kind))
    assert len(report.faults) == 1
    assert name in lines(report)


def test_prefix_that_holds_nothing(tmp_path, patches, resnet18):
    torch.save(resnet18, tmp_path / 'weights.pth')
    report = classifier(tmp_path, patches, init=init_cfg(tmp_path / 'weights.pth', ", prefix='encoder'"))
    assert "no tensor under 'encoder.'" in lines(report)


def test_tensors_that_nothing_takes_are_noted(tmp_path, patches, resnet18):
    torch.save({**resnet18, 'fc.weight': torch.zeros(2, 512)}, tmp_path / 'weights.pth')
    report = classifier(tmp_path, patches, init=init_cfg(tmp_path / 'weights.pth'))
    assert not report.faults
    assert 'fc.weight' in report.findings[0].what


def test_weights_that_are_no_weights(tmp_path, patches):
    (tmp_path / 'weights.pth').write_bytes(b'nothing of the kind')
    assert 'weights.pth' in lines(classifier(tmp_path, patches, init=init_cfg(tmp_path / 'weights.pth')))
    gone = classifier(tmp_path, patches, init=init_cfg('gone.pth'))
    assert 'gone.pth does not exist' in lines(gone)
    assert gone.faults


def test_weights_that_need_not_be_there_are_noted(tmp_path, patches):
    gone = classifier(tmp_path, patches, init=init_cfg('gone.pth', kind='histomm.PretrainedIfPresent'))
    (finding,) = gone.findings
    assert finding.what == 'gone.pth does not exist, so mmpretrain.ResNet starts at random'
    assert not finding.fault


def test_remote_weights_are_only_noted(tmp_path, patches):
    report = classifier(tmp_path, patches, init=init_cfg('torchvision://resnet18'))
    assert [finding.fault for finding in report.findings] == [False]


def test_load_from_looks_for_the_backbone(tmp_path, patches, resnet18):
    text = CLASSIFIER.format(root=str(patches), more='', init='', num=2)
    text += f'    load_from = {str(tmp_path / "weights.pth")!r}\n'
    torch.save(resnet18, tmp_path / 'weights.pth')
    assert "no tensor under 'backbone.'" in lines(examine(tmp_path, text))
    torch.save({f'backbone.{name}': value for name, value in resnet18.items()}, tmp_path / 'weights.pth')
    assert examine(tmp_path, text).findings == []


# ---- annotations

DETECTOR = """
    default_scope = 'mmdet'
    train_dataloader = dict(dataset=dict(
        type='CocoDataset', data_root={root!r}, ann_file='train.json', data_prefix=dict(img='STR/'),
        metainfo=dict(classes={classes})))
    model = dict(roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)))
"""


@pytest.fixture
def coco(patches):
    pytest.importorskip('mmdet.datasets')
    content = dict(
        images=[dict(id=number, file_name=f'{number}.png', width=16, height=16) for number in range(3)],
        annotations=[dict(id=1, image_id=0, category_id=1, bbox=[1, 1, 8, 8], area=64, iscrowd=0, segmentation=[])],
        categories=[dict(id=1, name='gland')],
    )
    (patches / 'train.json').write_text(json.dumps(content))
    return patches


def test_sound_annotations(tmp_path, coco):
    pytest.importorskip('mmcv._ext')
    assert examine(tmp_path, DETECTOR.format(root=str(coco), classes=('gland',))).findings == []


def test_categories_that_do_not_match(tmp_path, coco):
    text = lines(examine(tmp_path, DETECTOR.format(root=str(coco), classes=('nucleus',))))
    assert "'nucleus'" in text
    assert "classes=('gland',)" in text


def test_images_of_the_annotation_that_are_missing(tmp_path, coco):
    (coco / 'STR' / '2.png').unlink()
    text = lines(examine(tmp_path, DETECTOR.format(root=str(coco), classes=('gland',))))
    assert '1 of 3 images looked up do not exist' in text
    (coco / 'train.json').unlink()
    report = examine(tmp_path, DETECTOR.format(root=str(coco), classes=('gland',)))
    assert 'train_dataloader.dataset.ann_file' in {finding.where for finding in report.faults}


SEGMENTOR = """
    default_scope = 'mmseg'
    train_dataloader = dict(dataset=dict(
        type='BaseSegDataset', data_root={root!r}, data_prefix=dict(img_path='STR', seg_map_path='maps'),
        img_suffix='.png', metainfo=dict(classes=('a', 'b'), palette=[[0, 0, 0], [9, 9, 9]])))
"""


def test_label_maps(tmp_path, patches):
    pytest.importorskip('mmseg.datasets')
    (patches / 'maps').mkdir()
    for number in range(3):
        Image.fromarray(np.full((16, 16), number % 2, np.uint8)).save(patches / 'maps' / f'{number}.png')
    assert examine(tmp_path, SEGMENTOR.format(root=str(patches))).findings == []
    Image.fromarray(np.array([[0, 1], [2, 255]], np.uint8)).save(patches / 'maps' / '1.png')
    assert 'holds the label 2, but there are only 2 classes' in lines(
        examine(tmp_path, SEGMENTOR.format(root=str(patches)))
    )


def test_evaluator_without_annotations(tmp_path):
    metric = "dict(type='X', ann_file='gone.json')"
    report = examine(tmp_path, f'val_evaluator = {metric}\ntest_evaluator = [dict(), {metric}]')
    assert [finding.where for finding in report.faults] == ['val_evaluator.ann_file', 'test_evaluator[1].ann_file']


# ---- parts


@pytest.mark.parametrize(
    ('count', 'most', 'expected'), [(0, 8, []), (1, 8, [0]), (3, 8, [0, 1, 2]), (100, 3, [0, 49, 99])]
)
def test_spread(count, most, expected):
    assert spread(count, most) == expected


def test_walk_names_every_dict():
    node = dict(a=[dict(b=1), dict(c=dict(d=2))], e=3)
    assert [path for path, _ in walk(node, 'm')] == ['m', 'm.a[0]', 'm.a[1]', 'm.a[1].c']


def test_findings_are_one_line_each():
    report = Report()
    report.fault('here', 'two\nlines', 'do this')
    report.notice('there', 'odd', 'or not')
    assert report.text().splitlines() == ['notice  there: odd; or not', 'FAULT   here: two lines; do this', '1 fault']


def test_hooks_that_open_data(tmp_path, patches):
    text = """
        default_scope = 'histomm'
        labelled = dict(type='PatchDataset', data_root={root!r}, with_labels=True)
        default_hooks = dict(knn=dict(type='X', dataset=labelled))
        custom_hooks = [dict(type='Y'), dict(type='X', dataset=dict(type='PatchDataset', data_root='nowhere'))]
    """
    report = examine(tmp_path, text.format(root=str(patches)))
    assert [finding.where for finding in report.faults] == ['custom_hooks[1].dataset.data_root']
    assert dict(report.rows)['default_hooks.knn'] == '6 samples, 2 classes (PatchDataset)'


def test_options_change_the_config_before_it_is_checked(tmp_path, patches):
    config = tmp_path / 'config.py'
    config.write_text(textwrap.dedent(CLASSIFIER.format(root='nowhere', more='', init='', num=2)))
    report = Report()
    check_config(report, str(config), {'train_dataloader.dataset.dataset.data_root': str(patches)})
    assert report.findings == []
