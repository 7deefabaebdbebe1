"""A profile of a few steps of a run, which it leaves as it would be without."""

import json
import re

import pytest
import torch

from histomm.engine.hooks import ProfileHook


def test_a_trace_and_a_table_are_left_and_training_goes_on(train, tmp_path):
    plain = train('plain').model.state_dict()
    runner = train('profiled', hooks=[dict(type='histomm.ProfileHook', steps=3, rows=4)])
    torch.testing.assert_close(runner.model.state_dict(), plain, rtol=0, atol=0)
    folder = tmp_path / 'profiled' / 'profile'
    assert {path.name for path in folder.iterdir()} == {'train.pt.trace.json', 'summary.txt'}
    events = json.loads((folder / 'train.pt.trace.json').read_text())['traceEvents']
    steps = {event['name'] for event in events if event['name'].startswith('ProfilerStep#')}
    assert steps == {'ProfilerStep#5', 'ProfilerStep#6', 'ProfilerStep#7'}
    names = {event['name'] for event in events}
    assert {'aten::convolution', 'Optimizer.step#SGD.step'} <= names
    summary = (folder / 'summary.txt').read_text()
    share = re.match(r'3 steps, (\d+\.\d) % of their time spent waiting for data\n', summary)
    assert 0 < float(share[1]) < 100
    rows = summary.splitlines()[1:]
    assert sum(line.count('%') == 2 and 'Self' not in line for line in rows) == 4


def test_a_run_that_is_too_short_is_refused(train):
    with pytest.raises(ValueError, match=r'ProfileHook: 8 steps .* at least 13 iterations, the run has 12 left'):
        train(hooks=[dict(type='histomm.ProfileHook', steps=8)])


@pytest.mark.parametrize('options', [dict(steps=0), dict(rows=0)])
def test_bad_numbers_are_named(options):
    with pytest.raises(ValueError, match=f'{next(iter(options))} (is )?0'):
        ProfileHook(**options)
