"""Most memory that a call holds at once, from the allocators' own records."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

MIB = 2**20


def peak_memory(run: Callable[[], object], device: torch.device) -> int:
    """Most bytes held at once by what ``run`` allocates, beside what was there before."""
    if device.type != 'cpu':
        torch.accelerator.reset_peak_memory_stats(device)
        held = torch.accelerator.memory_allocated(device)
        run()
        return torch.accelerator.max_memory_allocated(device) - held
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # else the profiler prints a line at each start and stop
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'trace.json')
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())['traceEvents']
    changes = sorted((event['ts'], event['args']['Bytes']) for event in events if event['name'] == '[memory]')
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak
