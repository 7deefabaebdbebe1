"""Prototypes in real runs: when they are made, of which slides, resumed inside an epoch, on two processes."""

import logging
from types import SimpleNamespace

import pytest
import torch
from distributed import run_two_processes
from mmengine.config import Config
from mmengine.hooks import Hook
from region_stores import region_options, write_regions
from small_runs import REPO, small_config

from histomm import functional
from histomm.engine import PrototypeHook, latest_good_checkpoint
from histomm.engine.launch import build_runner
from histomm.engine.slide_clustering import Clustering, cluster, make_targets, require_faiss
from histomm.registry import MODELS

CONFIG = REPO / 'configs/slpd/slpd_vit4k-xs_nsclc.py'
SIZES = {'a.svs': 9, 'b.svs': 2, 'c.svs': 7, 'sub/d.svs': 6}


class _Notes(Hook):
    """What each step finds, after it; stops before ``stop``, as if killed. Says what was logged as a warning."""

    priority = 'VERY_LOW'

    def __init__(self, stop=None):
        self.stop, self.epochs, self.rows, self.losses, self.warnings = stop, [], [], [], []

    def before_run(self, runner):
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self.warnings.append(record.getMessage())
        runner.logger.addHandler(handler)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.stop:
            raise KeyboardInterrupt

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.epochs.append(int(runner.model.bank.epoch))
        self.rows.append(runner.model.bank.rows.clone())
        self.losses.append({name: float(value.detach()) for name, value in outputs.items()})


@pytest.fixture(scope='module')
def store(tmp_path_factory):
    return write_regions(tmp_path_factory.mktemp('regions') / 'store', SIZES)


def config(folder, store, **options):
    cfg = small_config(CONFIG, folder, region_options(store, epochs=options.pop('epochs', 1)))
    cfg.param_scheduler = []
    cfg.model.backbone.drop_path_rate = 0.5  # the teacher must not drop anything
    cfg.merge_from_dict({'model.num_prototypes': 3, **options})
    return cfg


def run(cfg, notes=None):
    runner = build_runner(cfg)
    notes = notes or _Notes()
    runner.register_hook(notes)
    runner.train()
    return runner, notes


def test_settings_are_those_of_the_paper_and_its_code():
    def read(name):
        return Config.fromfile(str(CONFIG.parent / f'slpd_vit4k-xs_{name}.py'))

    for name, prototypes, regions in (('nsclc', 4, 32), ('brca', 2, 16)):
        cfg = read(name)
        hook = dict(cfg.default_hooks.prototypes)
        assert hook.pop('type') == 'histomm.PrototypeHook'
        assert hook == dict(warm_epoch=20, min_regions=regions, crop_size=14, iterations=10, restarts=5)
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
        assert (model.num_prototypes, model.num_neighbors) == (prototypes, 1)
        assert (model.alpha_intra, model.alpha_inter, model.separate_center, model.skip_first_view) == (
            1,
            1,
            True,
            False,
        )
        assert (model.feat, model.match, model.scope, model.neighbors) == (
            'bottleneck', 'assignment', 'slide', 'prototypes',
        )  # fmt: skip
        dino = Config.fromfile(str(REPO / 'configs/hipt/dino_vit4k-xs_regions.py'))
        for part in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'auto_scale_lr'):
            assert cfg[part] == dino[part], part
        assert {**dino.model, **cfg.model, 'type': 'histomm.DINO'} == {**cfg.model, **dino.model}
    shipped, repo = dict(read('nsclc').model), dict(read('nsclc_repo').model)
    assert {**shipped, 'match': 'argmax', 'skip_first_view': True} == repo


def test_prototypes_are_those_of_the_teacher_at_the_start_of_the_epoch(store, tmp_path):
    """Of epoch 2 of 3: regions embedded one by one by the saved teacher, clustered and matched slide by slide."""
    cfg = config(tmp_path, store, epochs=3, **{'default_hooks.prototypes.warm_epoch': 0})
    runner, notes = run(cfg)
    assert notes.epochs == [-1] * 6 + [1] * 6 + [2] * 6
    assert set(notes.losses[0]) == {'loss', 'loss_self'}
    assert set(notes.losses[6]) == {'loss', 'loss_self', 'loss_intra', 'loss_inter'}
    assert sum('have fewer than 3 regions and get no prototypes: b.svs (2)' in line for line in notes.warnings) == 1
    assert '1 of 4 slides' in notes.warnings[0]
    assert torch.equal(notes.rows[6], notes.rows[11])
    assert not torch.equal(notes.rows[11], notes.rows[12])
    model, data = runner.model, runner.train_dataloader.dataset
    model.load_state_dict(torch.load(tmp_path / 'epoch_2.pth', weights_only=False)['state_dict'])
    backbone, neck = model.teacher.module.values()
    x = torch.cat([neck.bottleneck(backbone(data.read_tokens([n])[:, :, :4, :4])[0]) for n in range(24)]).detach()
    slide, valid = torch.from_numpy(data.region_slides), torch.tensor([True, False, True, True])
    bank = runner.model.bank  # of epoch 2 as that checkpoint has it; the third was made from these weights
    own = torch.load(tmp_path / 'epoch_3.pth', weights_only=False)['state_dict']
    rows, labels = own['bank.rows'], own['bank.own']
    assert bank.rows.shape == rows.shape == (12, 16)
    prototypes = rows.unflatten(0, (4, 3))
    for number in range(4):
        members = slide == number
        if not valid[number]:
            assert (labels[members] == -1).all()
            continue
        assert torch.equal(labels[members] // 3, slide[members])
        nearest = (x[members] @ prototypes[number].T).argmax(1)
        assert (labels[members] % 3).tolist() == nearest.tolist()
    neighbors, order, _ = functional.prototype_neighbors(prototypes, valid, 1)
    expected = functional.region_targets(torch.where(labels < 0, -1, labels % 3), slide, neighbors, order)
    assert torch.equal(own['bank.others'], expected[1])
    torch.manual_seed(99)  # what is left in the global generators does not matter
    options = {'default_hooks.prototypes.warm_epoch': 0, 'resume': True, 'load_from': str(tmp_path / 'epoch_2.pth')}
    again, _ = run(config(tmp_path / 'again', store, epochs=3, **options))
    torch.testing.assert_close(dict(again.model.state_dict()), dict(own), rtol=0, atol=0)


def by_iteration(folder, store, **options):
    """A run of 16 iterations with checkpoints after 5, 10 and 15; a pass over the data takes 6."""
    found = {
        'train_dataloader.sampler.infinite': True,
        'default_hooks.checkpoint.by_epoch': False,
        'default_hooks.checkpoint.interval': 5,
        'log_processor': dict(by_epoch=False),
        'default_hooks.prototypes.warm_epoch': 0,
    }
    cfg = config(folder, store, **found, **options)
    cfg.train_cfg = dict(by_epoch=False, max_iters=16)
    del cfg.default_hooks['frozen']  # counts epochs
    return cfg


def test_killed_inside_an_epoch_with_prototypes_and_resumed_equals_uninterrupted(store, tmp_path):
    """Prototypes are made before the 7th and the 13th iteration; killed before the 12th, resumed after the 10th."""
    _, whole = run(by_iteration(tmp_path / 'whole', store))
    assert whole.epochs == [-1] * 6 + [1] * 6 + [2] * 4
    with pytest.raises(KeyboardInterrupt):
        run(by_iteration(tmp_path / 'killed', store), _Notes(stop=11))
    checkpoint = latest_good_checkpoint(tmp_path / 'killed')
    assert checkpoint.endswith('iter_10.pth')
    torch.manual_seed(99)  # what is left in the global generators does not matter
    _, rest = run(by_iteration(tmp_path / 'killed', store, resume=True, load_from=checkpoint))
    assert rest.epochs == [1] * 2 + [2] * 4
    assert torch.equal(rest.rows[0], whole.rows[9])  # kept from before, not made of the teacher as it is now
    ends = [torch.load(latest_good_checkpoint(tmp_path / name), weights_only=False) for name in ('whole', 'killed')]
    for part in ('state_dict', 'optimizer'):
        torch.testing.assert_close(ends[0][part], ends[1][part], rtol=0, atol=0)
    assert ends[0]['state_dict']['prototype_center'].any()
    larger = write_regions(tmp_path / 'larger', SIZES | {'e.svs': 2})
    with pytest.raises(ValueError, match='prototypes of 24 regions, the training data have 26, or they were made of'):
        run(by_iteration(tmp_path / 'killed', larger, resume=True, load_from=checkpoint))
    others = write_regions(tmp_path / 'others', {**SIZES, 'a.svs': 8, 'c.svs': 8})  # as many regions
    with pytest.raises(ValueError, match='other slides, places or tokens, or with other options; resume with the data'):
        run(by_iteration(tmp_path / 'killed', others, resume=True, load_from=checkpoint))
    with pytest.raises(ValueError, match='other slides, places or tokens, or with other options; resume with the data'):
        run(by_iteration(tmp_path / 'killed', store, resume=True, load_from=checkpoint, **{'model.match': 'argmax'}))


@pytest.fixture(scope='module')
def weights(store, tmp_path_factory):
    """A checkpoint with prototypes of its first epoch."""
    folder = tmp_path_factory.mktemp('before')
    model = MODELS.build(config(folder, store).model)
    model.init_weights()
    model.bank.replace(torch.ones(12, 16), torch.zeros(24).long(), torch.zeros(24, 1).long(), 0)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, folder / 'epoch_1.pth')
    return str(folder / 'epoch_1.pth')


def test_prototypes_of_another_run_are_forgotten(store, weights, tmp_path):
    options = {'default_hooks.prototypes.warm_epoch': 0, 'load_from': weights}
    _, notes = run(config(tmp_path, store, epochs=2, **options))
    assert notes.epochs == [-1] * 6 + [1] * 6


VARIANTS = {
    'global': {'model.scope': 'global', 'model.alpha_inter': 0.0},
    'regions': {'model.neighbors': 'regions', 'model.num_neighbors': 2},
    'faiss': {'default_hooks.prototypes.backend': 'faiss'},
    'no slide beside': {'default_hooks.prototypes.min_regions': 9},
    'no region beside': {'default_hooks.prototypes.min_regions': 9, 'model.neighbors': 'regions'},
}


@pytest.mark.parametrize('name', VARIANTS)
def test_variants(store, tmp_path, name):
    runner, notes = run(config(tmp_path, store, **VARIANTS[name]))
    bank, slide = runner.model.bank, torch.from_numpy(runner.train_dataloader.dataset.region_slides)
    assert bank.rows.shape[1] == 16
    assert all(torch.isfinite(torch.tensor(list(step.values()))).all() for step in notes.losses)
    assert ('loss_inter' in notes.losses[0]) == ('beside' not in name and name != 'global')
    if name == 'global':
        assert len(bank.rows) == 3 * 4
        assert (bank.own >= 0).all()  # no slide is too small
    elif name == 'regions':
        assert len(bank.rows) == 4 * 3 + 24
        assert bank.others.shape == (24, 2)
        known = bank.own >= 0
        neighbors = bank.others[known] - 12
        assert (slide[neighbors] != slide[known][:, None]).all()
        assert (slide[neighbors] != 1).all()
    elif 'beside' in name:
        few = f'fewer than 1 neighbours, for there are 0 other {name.split()[1]}s; loss_inter is left out'
        assert f'1 of 1 slides with prototypes have {few}' in notes.warnings
        assert bank.others.shape == (24, 0)
        assert ((bank.own >= 0) == (slide == 0)).all()
    else:
        assert torch.equal(bank.own < 0, slide == 1)
        assert torch.equal(bank.own[slide != 1] // 3, slide[slide != 1])


def test_both_backends_find_the_same_clusters():
    generator = torch.Generator().manual_seed(0)
    slide, kind = torch.arange(3).repeat_interleave(30), torch.randint(3, (90,), generator=generator)
    x = torch.eye(10)[kind + 3 * (slide % 2)] + 0.04 * torch.randn(90, 10, generator=generator)
    valid = torch.tensor([True, False, True])
    found = [cluster(x, slide, valid, 3, Clustering(backend, restarts=20)) for backend in ('torch', 'faiss')]
    assert torch.equal(found[0][1] < 0, found[1][1] < 0)
    for number in (0, 2):
        order = (found[0][0][number] @ found[1][0][number].T).argmax(1)
        torch.testing.assert_close(found[0][0][number], found[1][0][number][order], atol=1e-5, rtol=0)
        assert torch.equal(order[found[0][1][slide == number]], found[1][1][slide == number])
    assert not found[1][0][1].any()


def test_without_faiss_it_is_named(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'faiss', None)
    with pytest.raises(ModuleNotFoundError, match=r'needs faiss, which is not installed; run `pip install faiss-cpu`'):
        require_faiss()
    with pytest.raises(ModuleNotFoundError, match='faiss-cpu'):
        PrototypeHook(backend='faiss')


class _FewPrototypes:
    """What :func:`make_targets` asks of a model."""

    scope, feat, match, neighbors = 'slide', 'bottleneck', 'assignment', 'prototypes'
    num_prototypes, num_neighbors, alpha_inter = 2, 3, 1.0


def test_fewer_neighbours_than_wanted_and_none():
    x, slide = torch.randn(12, 4), torch.arange(3).repeat_interleave(4)
    three = make_targets(_FewPrototypes(), x, slide, torch.ones(3, dtype=torch.bool), Clustering())
    assert three.others.shape == (12, 2)
    one = make_targets(_FewPrototypes(), x, slide, torch.tensor([False, True, False]), Clustering())
    assert one.others.shape == (12, 0)


def _two(rank, store, out, weights):
    """A run of two processes, in which every second batch of five regions is embedded by each."""
    cfg = config(f'{out}/two', store, load_from=weights)
    cfg.launcher, cfg.model_wrapper_cfg = 'pytorch', dict(type='MMDistributedDataParallel', device_ids=None)
    cfg.train_dataloader.batch_size = 2
    runner = build_runner(cfg)
    runner.train()
    torch.save(dict(runner.model.module.state_dict()), f'{out}/rank{rank}.pt')


def test_two_processes_share_the_work_and_agree(store, weights, tmp_path):
    """Both end with the same state to the bit, and with the prototypes that one process makes of the weights."""
    one, _ = run(config(tmp_path / 'one', store, load_from=weights))
    run_two_processes(_two, store, str(tmp_path), weights)
    first, second = (torch.load(tmp_path / f'rank{rank}.pt') for rank in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    for name in ('bank.rows', 'bank.own', 'bank.others'):
        torch.testing.assert_close(first[name], one.model.state_dict()[name], msg=name)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'default_hooks.prototypes.warm_epoch': 1}, 'the run has 1 epochs, and prototypes are made after 2; lower'),
        ({'default_hooks.prototypes.crop_size': 6}, 'crop_size is 6, the regions have 5 x 5 tokens'),
        ({'default_hooks.prototypes.min_regions': 10}, 'none of the 4 slides has 10 regions, the largest has 9'),
        ({'train_dataloader.dataset.dim': None, 'model.backbone.in_channels': 7}, r'expected \(B, 7, H, W\)'),
        ({'train_dataloader.dataset.dim': 7}, 'tokens have 8 numbers, expected 7'),
        ({'model': dict(type='histomm.DINO')}, 'PrototypeHook: the model is DINO, expected histomm.SLPD'),
    ],
)
def test_what_does_not_fit_is_named_before_training(store, tmp_path, options, message):
    cfg = config(tmp_path, store, **{name: value for name, value in options.items() if name != 'model'})
    if 'model' in options:
        keys = ('backbone', 'neck', 'data_preprocessor')
        cfg.model = dict(type='histomm.DINO', **{key: cfg.model[key] for key in keys})
    with pytest.raises(ValueError, match=message):
        run(cfg, _Notes(stop=0))


def test_other_data_than_regions_are_named():
    tiny = dict(embed_dims=4, num_layers=1, num_heads=1, feedforward_channels=4)
    model = MODELS.build(
        dict(
            type='histomm.SLPD',
            backbone=dict(type='histomm.RegionViT', arch=tiny),
            neck=dict(type='histomm.DINONeck', in_channels=4, hid_channels=4, bottleneck_channels=4, out_channels=4),
        )
    )
    runner = SimpleNamespace(model=model, train_dataloader=SimpleNamespace(dataset=[]))
    with pytest.raises(ValueError, match=r'the training data are list, expected histomm\.RegionTokenDataset'):
        PrototypeHook().before_train(runner)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(warm_epoch=-2), 'warm_epoch is -2, .* expected at least -1'),
        (dict(restarts=0), 'restarts 0; expected at least -1, and 1 or more'),
        (dict(backend='gpu'), "backend is 'gpu', expected one of torch, faiss"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        PrototypeHook(**options)


def test_prototypes_of_the_vectors_of_the_backbone_are_means_of_regions(store, tmp_path):
    """With feat='cls': in epoch 2 those of the teacher at its start, summed region by region."""
    options = {'model.feat': 'cls', 'default_hooks.prototypes.warm_epoch': 0}
    runner, notes = run(config(tmp_path, store, epochs=2, **options))
    assert set(notes.losses[6]) == {'loss', 'loss_self', 'loss_intra', 'loss_inter'}
    model, own = runner.model, runner.model.bank.own.tolist()
    model.load_state_dict(torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict'])
    model.eval()
    tokens = runner.train_dataloader.dataset.read_tokens(range(24))[:, :, :4, :4]
    x = torch.cat([model.embed(part) for part in tokens.split(5)]).double()
    rows = notes.rows[6]
    assert rows.shape == (12, 12)
    assert sorted(set(own)) == [-1, 0, 1, 2, *range(6, 12)]
    for number in range(12):
        members = [x[region] for region in range(24) if own[region] == number]
        assert torch.equal(rows[number], (sum(members, torch.zeros(12).double()) / max(1, len(members))).float())
