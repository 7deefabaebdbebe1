"""Trains the toy model until its third checkpoint, in the middle of which it says so and hangs, to be killed there."""

import os
import sys
import time

import torch
from engine_toy import toy_config
from mmengine.runner import Runner

from histomm.engine import fileio

torch.set_num_threads(1)  # as the process that resumes: sums over threads round differently
flush = os.fsync


def hang(descriptor: int) -> None:
    """Flush to the disk; for ever, when the file is the third checkpoint."""
    if 'epoch_3.pth' in os.readlink(f'/proc/self/fd/{descriptor}'):
        os.ftruncate(descriptor, 1000)
        print('writing', flush=True)
        time.sleep(600)
    flush(descriptor)


fileio.os.fsync = hang
Runner.from_cfg(toy_config(sys.argv[1], length=5, checkpoint=dict(max_keep_ckpts=1))).train()
