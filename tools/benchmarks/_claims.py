"""How each benchmark of this folder is run by ``run_all.py``, and what it claims."""

from typing import NamedTuple


class Claim(NamedTuple):
    """One row of the table.

    Attributes:
        what: Title.
        ratio: Key of the ratio among the results of the benchmark.
        plain: Key of the plain side, where it is among them.
        own: Key of histomm's side.
        goal: Bound of the ratio, ``'>= 5'`` or ``'<= 1.15'``; none where empty.
    """

    what: str
    ratio: str
    plain: str = ''
    own: str = ''
    goal: str = ''

    def reached(self, ratio: float) -> bool:
        """Whether ``ratio`` meets the goal."""
        sign, bound = self.goal.split()
        return {'>=': ratio >= float(bound), '<=': ratio <= float(bound)}[sign]


class Benchmark(NamedTuple):
    """How a script of the folder is run.

    Attributes:
        claims: What is read from its figures.
        full: Arguments.
        quick: Arguments of ``--quick``.
        takes_device: Whether it knows ``--device``.
    """

    claims: tuple[Claim, ...]
    full: str = ''
    quick: str = ''
    takes_device: bool = True


def _sides(what: str, sides: tuple[str, str], unit: str, goal: str = '') -> Claim:
    return Claim(what, f'{what}, ratio', *(f'{what} by {side}, {unit}' for side in sides), goal)


def _matching(what: str, unit: str, goal: str) -> Claim:
    ratio = f'{what}, ratio' if unit == 'ms' else f'{what} memory, ratio'
    return Claim(ratio.removesuffix(', ratio'), ratio, f'{what} dense, {unit}', f'{what} separable, {unit}', goal)


def _step(name: str, goal: str = '') -> Claim:
    return Claim(f'{name} step', f'{name} step to MoCo-v2, ratio', 'MoCo-v2 step, ms', f'{name} step, ms', goal)


def _slides(name: str, plain: str, unit: str) -> Claim:
    return Claim(name, f'{name} to {plain}, ratio', f'{plain}, {unit}', f'{name}, {unit}')


def _largest(name: str, plain: str, goal: str = '') -> Claim:
    at = f'{name} at the largest'
    return Claim(at, f'{at}, ratio', f'{at} by {plain}, ms', f'{at} by histomm, ms', goal)


TABLE = {
    'views': Benchmark(
        (
            _sides('MoCo-v2, decoded image to tensor', ('torchvision', 'histomm'), 'views/s', '>= 5'),
            _sides('MoCo-v2, TIFF file to tensor', ('torchvision', 'histomm'), 'views/s', '>= 5'),
            *(
                _sides(f'{name}, decoded image to tensor', ('torchvision', 'histomm'), 'views/s', '>= 5')
                for name in ('SimCLR', 'MPCS', 'DINO')
            ),
        ),
        quick='--images 8 --repeats 3',
        takes_device=False,
    ),
    'device_views': Benchmark(
        (
            Claim(
                'views of a batch on the device to those of one core',
                'views torch to pipeline, ratio',
                'views pipeline, views/s',
                'views torch, views/s',
            ),
        ),
        full='--paths torch',
        quick='--paths torch --batch 4 --size 96 --repeats 2',
    ),
    'matching': Benchmark(
        (
            _matching('28 x 28 cells forward', 'ms', '>= 10'),
            _matching('28 x 28 cells forward + backward', 'ms', '>= 10'),
            _matching('28 x 28 cells forward + backward', 'MiB', ''),
        ),
        quick='--sides 28 --batch 8 --repeats 2',
    ),
    'info_nce': Benchmark(
        (
            Claim('InfoNCE', 'InfoNCE, ratio', 'InfoNCE plain, s', 'InfoNCE streaming, s'),
            Claim('InfoNCE memory', 'InfoNCE memory, ratio', 'InfoNCE plain, MiB', 'InfoNCE streaming, MiB', '>= 8'),
        ),
        full='--repeats 3',
        quick='--rows 6272 --queue 4096 --repeats 2',
    ),
    'step': Benchmark(
        (_step('PLM', '<= 1.15'), _step('DenseCL'), _step('VICRegL^m')),
        full='--amp --channels-last --fused',
        quick='--batch 4 --size 112 --repeats 2',
    ),
    'ema': Benchmark(
        (_sides('resnet18 update', ('loop', 'histomm'), 'ms'),), quick='--backbones resnet18 --updates 2 --repeats 2'
    ),
    'train_speed': Benchmark(
        (
            Claim(
                'training in bfloat16',
                'bfloat16 to float32 training, ratio',
                'float32 training, images/s',
                'bfloat16 training, images/s',
            ),
        ),
        full='--batch 16 --files 64 --workers 2 --warmup 1 --iterations 2 --repeats 3',
        quick='--batch 4 --size 64 --files 8 --workers 0 --warmup 1 --iterations 1 --repeats 2',
        takes_device=False,
    ),
    'slides': Benchmark(
        (
            _slides('SlideTileDataset, by neighbourhoods', 'OpenSlide, at random', 'tiles/s'),
            _slides('slides, by neighbourhoods', 'JPEG files, at random', 'images/s'),
        ),
        full='--repeats 5 --reads 10000',
        quick='--side 2048 --copies 4 --tiles 64 --reads 400 --repeats 2',
        takes_device=False,
    ),
    'feeding': Benchmark(
        (
            Claim(
                'JPEG files beside TIFF files, two views',
                'JPEG files views to TIFF files, ratio',
                'TIFF files views, images/s',
                'JPEG files views, images/s',
            ),
            Claim(
                'slides by neighbourhoods beside TIFF files, two views',
                'slides by neighbourhoods views to TIFF files, ratio',
                'TIFF files views, images/s',
                'slides by neighbourhoods views, images/s',
            ),
            Claim(
                'large JPEG files at reduced scale',
                'large JPEG files at reduced scale to whole, ratio',
                'large JPEG files views, images/s',
                'large JPEG files at reduced scale views, images/s',
            ),
        ),
        quick='--side 1130 --images 16 --repeats 2',
        takes_device=False,
    ),
    'tiling': Benchmark(
        (
            Claim(
                'slide to JPEG tiles',
                'tile_slides at 0.5 µm/px, ratio',
                'plain loop at 0.5 µm/px, tiles/s',
                'tile_slides at 0.5 µm/px, tiles/s',
            ),
        ),
        full='--repeats 5',
        quick='--side 2048 --mpp 0.5 --repeats 2',
        takes_device=False,
    ),
    'features': Benchmark(
        (
            _sides('file to vector', ('timm', 'histomm'), 'images/s'),
            _sides('file to the input of the network', ('timm', 'histomm'), 'images/s'),
        ),
        quick='--images 16 --batch 8 --repeats 2',
    ),
    'tokens': Benchmark(
        tuple(
            Claim(what, f'{what}, ratio', f'{what} from files, regions/s', f'{what} from store, regions/s')
            for what in ('whole regions float16', 'ten crops float16')
        ),
        quick='--regions 64 --repeats 2',
        takes_device=False,
    ),
    'prototypes': Benchmark(
        (_sides('together', ('loops', 'histomm'), 's', '>= 10')._replace(what='prototypes and neighbours of slides'),),
        full='--threads 1',
        quick='--threads 1 --slides 120 --repeats 2',
    ),
    'patch_contrast': Benchmark(
        (
            _sides('sampler and losses', ('loops', 'histomm'), 'ms', '>= 10')._replace(what='patch contrast, losses'),
            _sides('network forward + backward', ('plain torch', 'histomm'), 'ms'),
        ),
        quick='--batch 2 --size 120 --patches 4 --repeats 1',
    ),
    'magnification_pairs': Benchmark(
        (),
        full='--seeds 1',
        quick='--places 40 --seeds 1 --steps 2 --batch 4 --size 32 --channels 4',
        takes_device=False,
    ),
    'growth': Benchmark(
        (
            _largest('cells', 'matrix of overlaps', '>= 10')._replace(what='matching on the largest maps'),
            _largest('queue', 'all logits')._replace(what='InfoNCE with the longest queue'),
            _largest('slides', 'loops')._replace(what='prototypes of the most slides'),
        ),
        quick='--quick --repeats 1',
    ),
    'scaling': Benchmark(
        (
            Claim(
                'PLM step in 2 processes to one',
                'step of 2 processes to one by wall time, ratio',
                'step of one process by wall time, ms',
                'step of 2 processes by wall time, ms',
            ),
        ),
        quick='--batch 2 --size 64 --queue 64 --repeats 1',
        takes_device=False,
    ),
    'peers': Benchmark(
        (
            *(_sides(f'{name} loss', ('lightly', 'histomm'), 'ms') for name in ('MoCo-v2', 'DenseCL', 'VICRegL')),
            *(_sides(f'{name} views', ('lightly', 'histomm'), 'views/s') for name in ('MoCo-v2', 'VICRegL')),
            *(_sides(f'{name} step', ('lightly', 'histomm'), 'ms') for name in ('MoCo-v2', 'DenseCL', 'VICRegL')),
            _sides('PLM matching and loss', ('plain', 'histomm'), 'ms'),
        ),
        quick='--batch 4 --queue 1024 --channels 256 --outputs 4096 --images 4 --step-batch 2 --step-size 64 '
        '--repeats 2',
    ),
}
