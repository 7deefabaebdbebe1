"""Regions per second out of a store of tokens, beside a file a region that torch.load reads.

    python tools/benchmarks/tokens.py --regions 512

Both hold the same random tokens, 256×384 to a region, and are read in the same random order, in batches; that they
give the same is checked first. The files are in the memory of the machine after the first turn, which does not count.
Ten crops are a sample for training: two of 14×14 tokens and eight of 6×6, by the data set of DINO's config.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _timing import Spread, add_options, in_turns, make_clock, provenance, publish, ratios, spread, table

from histomm.config_file import read_config
from histomm.datasets import RegionTokenDataset, SampleIndex
from histomm.wsi.token_store import DTYPES, TokenStore, TokenStoreWriter

CONFIG = 'histomm::hipt/dino_vit4k-xs_regions.py'
CPU = torch.device('cpu')


def write_both(folder: Path, regions: int, dtype: str) -> list[Path]:
    """A store in ``folder/store``, and the files of the regions in its order."""
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(regions, 256, 384)).astype(dtype)
    writer = TokenStoreWriter(folder / 'store', 384, dtype=dtype)
    writer.write('slide', np.stack([np.arange(regions)] * 2, axis=1), tokens, (4096, 4096))
    writer.finish()
    paths = [folder / f'{number}.pt' for number in range(regions)]
    for path, region in zip(paths, tokens, strict=True):
        torch.save(torch.from_numpy(region), path)
    return paths


def read_store(store: TokenStore, batches: list[np.ndarray]) -> Callable[[], torch.Tensor]:
    """All batches out of the store."""

    def run() -> torch.Tensor:
        for batch in batches:
            tokens = torch.from_numpy(store.read(batch))
        return tokens

    return run


def read_files(paths: list[Path], batches: list[np.ndarray]) -> Callable[[], torch.Tensor]:
    """All batches out of files, as grids."""

    def run() -> torch.Tensor:
        for batch in batches:
            tokens = torch.stack([torch.load(paths[index]) for index in batch])
        return tokens.unflatten(1, (16, 16)).permute(0, 3, 1, 2)

    return run


class Files:
    """What a data set of files gives for the grid of a region."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def tokens(self, index: int) -> np.ndarray:
        """Tokens (16, 16, 384)."""
        return torch.load(self.paths[index]).numpy().reshape(16, 16, 384)


def samples(dataset: RegionTokenDataset, source: TokenStore | Files, order: np.ndarray) -> Callable[[], None]:
    """Views of all regions, their grids out of ``source``."""

    def run() -> None:
        for index in order.tolist():
            info = dataset.get_data_info(SampleIndex(index))
            dataset.pipeline({**info, 'img': source.tokens(index)})

    return run


def measure(args: argparse.Namespace, dtype: str, folder: Path, results: dict[str, Spread]) -> list[list[str]]:
    """Rows of the table; figures go into ``results``."""
    paths = write_both(folder, args.regions, dtype)
    pipeline = read_config(CONFIG).train_dataloader.dataset.pipeline
    dataset = RegionTokenDataset(str(folder / 'store'), pipeline=pipeline)
    order = np.random.default_rng(1).permutation(args.regions)
    batches = np.array_split(order, max(1, args.regions // args.batch))
    own, files = read_store(dataset.store, batches), read_files(paths, batches)
    assert torch.equal(own(), files())
    runs = {
        'own': own,
        'files': files,
        'own views': samples(dataset, dataset.store, order),
        'files views': samples(dataset, Files(paths), order),
    }
    times = in_turns(runs, args.repeats, make_clock(args.clock, CPU))
    rows = []
    for title, suffix in ((f'whole regions, {dtype}', ''), (f'ten crops, {dtype}', ' views')):
        sides = times[f'files{suffix}'], times[f'own{suffix}']
        rates = [spread([args.regions / seconds for seconds in side]) for side in sides]
        rows.append([title, *(rate.text(0) for rate in rates), ratios(*sides).text(1)])
        what = title.replace(',', '')
        results[f'{what}, ratio'] = ratios(*sides)
        for name, rate in zip(('files', 'store'), rates, strict=True):
            results[f'{what} from {name}, regions/s'] = rate
    return rows


def main() -> None:
    """Measure in turns and print regions per second and the spread of the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--regions', type=int, default=512, help='regions of a turn (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=64, help='regions at a time (default: %(default)s)')
    parser.add_argument('--folder', help='where to write them for the time of the run (default: a temporary one)')
    parser.add_argument('--clock', choices=('cpu', 'wall'), default='cpu', help='default: processor time')
    add_options(parser, repeats=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows, results = [], {}
    for dtype in DTYPES:
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            rows += measure(args, dtype, Path(name), results)
    text = table(['regions a second', 'files of torch.save', 'store', 'ratio'], rows)
    publish(f'{text}\n\n{provenance(args.repeats, args.clock, CPU)}', args, results)


if __name__ == '__main__':
    main()
