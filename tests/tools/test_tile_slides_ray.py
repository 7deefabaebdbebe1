"""Tiling on a Ray cluster."""

import builtins
import os

import pytest
from small_slides import draw_slide
from tile_runs import files, run
from tool_modules import load_tool

SMALL = ['--size', '32', '--store', 'jpg']

ray = pytest.importorskip('ray')
cluster_utils = pytest.importorskip('ray.cluster_utils')


@pytest.fixture
def tool():
    return load_tool('tools/wsi/tile_slides.py')


@pytest.fixture
def cluster(repo, monkeypatch):
    """Two nodes on this machine, of one core each."""
    monkeypatch.setenv('PYTHONPATH', f'{repo}{os.pathsep}{repo / "tests"}')
    nodes = cluster_utils.Cluster(
        initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20)
    )
    nodes.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    nodes.wait_for_nodes()
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def test_same_bytes_on_two_nodes(tool, cluster, tmp_path):
    for number in range(3):
        draw_slide(tmp_path / 'slides' / f'{number}.tif', number, width=300, height=200)
    assert run(tool, tmp_path / 'slides', tmp_path / 'one', *SMALL) == 0
    assert run(tool, tmp_path / 'slides', tmp_path / 'ray', *SMALL, '--ray', cluster.address) == 0
    assert files(tmp_path / 'one') == files(tmp_path / 'ray')
    assert len(list((tmp_path / 'ray/tiles/2.tif').iterdir())) > 5

    # a worker that dies costs its own item, and an error is raised as it is
    from dying_workers import die_on_three

    from histomm.wsi.workers import WorkerDiedError, on_ray

    results = dict(on_ray(die_on_three, range(5)))
    assert isinstance(results.pop(3), WorkerDiedError)
    assert results == {0: 0, 1: 1, 2: 4, 4: 16}
    with pytest.raises(TypeError):
        list(on_ray(die_on_three, ['a']))


def test_says_when_ray_is_missing(tool, tmp_path, monkeypatch):
    draw_slide(tmp_path / 'slides' / 'a.tif')
    found = builtins.__import__

    def without_ray(name, *args, **kwargs):
        if name == 'ray':
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without_ray)
    said = run(tool, tmp_path / 'slides', tmp_path / 'out', '--ray')
    assert said == 'tile_slides: a Ray cluster needs ray; install it with: pip install ray'
