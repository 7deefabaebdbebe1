"""Inheriting shipped configs through ``histomm::``, and what is said when a library is missing."""

import pytest
from mmengine.config import Config
from small_runs import REPO, shipped_configs

from histomm import config_file
from histomm.config_file import read_config, require_libraries, used_scopes, walk

DETECTION = 'glas/mask-rcnn_r18_fpn_glas.py'
PLM = 'plm/moco_plm_r18_nct.py'


@pytest.mark.parametrize('name', shipped_configs())
def test_inherited_through_the_package_is_the_same(name, tmp_path):
    """A config that inherits by ``histomm::`` differs in nothing from the file itself, whatever mmengine marks."""
    (tmp_path / 'own.yaml').write_text(f'_base_: histomm::{name}\n')
    itself = read_config(str(REPO / 'configs' / name)).to_dict()
    assert read_config(str(tmp_path / 'own.yaml')).to_dict() == itself
    assert read_config(f'histomm::{name}').to_dict() == itself


def test_marks_of_other_packages_stay(tmp_path):
    (tmp_path / 'own.py').write_text(f"_base_ = ['histomm::{DETECTION}']\n")
    scopes = {node['_scope_'] for _, node in walk(read_config(str(tmp_path / 'own.py'))) if '_scope_' in node}
    assert scopes == {'mmdet'}
    assert '_scope_' in Config.fromfile(str(tmp_path / 'own.py')).train_dataloader.sampler  # what is to be removed


def test_used_scopes():
    assert used_scopes(read_config(str(REPO / 'configs' / PLM))) == {'histomm', 'mmpretrain'}
    assert used_scopes(read_config(str(REPO / 'configs' / DETECTION))) == {'histomm', 'mmdet'}


def without(*missing):
    return lambda name: None if name in missing else object()


def test_a_missing_library_is_named_with_what_to_install(monkeypatch):
    cfg = read_config(str(REPO / 'configs' / DETECTION))
    monkeypatch.setattr(config_file, 'find_spec', without('mmdet'))
    with pytest.raises(ModuleNotFoundError, match=r'own\.py uses mmdet, .* `make setup`, or install onedl-mmdetection'):
        require_libraries(cfg, 'own.py')
    require_libraries(read_config(str(REPO / 'configs' / PLM)), 'own.py')


def test_missing_ops_are_named_where_they_matter(monkeypatch):
    monkeypatch.setattr(config_file, 'find_spec', without('mmcv._ext'))
    with pytest.raises(ModuleNotFoundError, match=r'compiled ops .* tools/setup/install_mmcv\.py'):
        require_libraries(read_config(str(REPO / 'configs' / DETECTION)), 'own.py')
    require_libraries(read_config(str(REPO / 'configs' / PLM)), 'own.py')


@pytest.mark.parametrize('base', ['mmdet::_base_/default_runtime.py', '{folder}/inner.py'])
def test_inheriting_from_a_missing_library_says_what_to_install(base, monkeypatch, tmp_path):
    (tmp_path / 'inner.py').write_text("_base_ = 'mmdet::_base_/default_runtime.py'\n")
    (tmp_path / 'own.py').write_text(f'_base_ = {base.format(folder=tmp_path)!r}\n')
    monkeypatch.setattr('mmengine.config.config.is_installed', lambda package: package != 'mmdet')
    with pytest.raises(ModuleNotFoundError, match=r'uses mmdet, .* install onedl-mmdetection'):
        read_config(str(tmp_path / 'own.py'))


def test_a_packaged_config_of_a_missing_library_is_not_installed_behind_your_back(monkeypatch):
    monkeypatch.setattr(config_file, 'find_spec', without('mmdet'))
    monkeypatch.setattr('mmengine.hub.get_config', lambda path: pytest.fail('this would call pip'))
    with pytest.raises(ModuleNotFoundError, match='install onedl-mmdetection'):
        read_config('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')
