"""The demonstration's commands fit the tools, and its book-keeping; the whole is run by ``make demo``."""

import shlex
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from tool_modules import REPO, load_tool


@pytest.fixture(scope='module')
def demo():
    return load_tool('tools/demo.py')


@pytest.fixture
def small(demo, tmp_path, monkeypatch):
    """The demonstration with three stages of a moment each; the middle one fails while ``fail`` exists."""

    def write(name, text, *needs):
        check = ''.join(f'assert Path({str(need)!r}).exists();' for need in needs)
        code = f'from pathlib import Path;{check}p=Path({str(tmp_path / "w" / name)!r});'
        code += f'assert not Path({str(tmp_path / "fail")!r}).exists() or {name!r} != "b", "told to fail";'
        return demo.Stage(
            name,
            ('-c', f'{code}p.write_text(p.read_text() + {text!r} if p.exists() else {text!r})'),
            (tmp_path / 'w' / name,),
        )

    plan = {'a': 'A', 'b': 'B', 'report': 'R'}

    def stages(work_dir, seed):
        return [
            write('a', plan['a'] + str(seed)),
            write('b', plan['b'], tmp_path / 'w' / 'a'),
            write('report', plan['report'], tmp_path / 'w' / 'b'),
        ]

    monkeypatch.setattr(demo, 'stages', stages)
    monkeypatch.setattr(demo, 'check_installation', lambda: None)

    def run(*arguments):
        demo.main(['--work-dir', str(tmp_path / 'w'), *arguments])
        return ''.join((tmp_path / 'w' / name).read_text() for name in ('a', 'b', 'report'))

    run.plan, run.root = plan, tmp_path
    return run


def test_every_command_is_understood_by_its_tool(demo, monkeypatch):
    monkeypatch.chdir(REPO)
    for stage in demo.stages(Path('work_dirs/demo'), 3):
        script, *arguments = stage.command
        load_tool(script).parse_args(list(arguments))


def test_options_override_what_the_configs_have(demo, monkeypatch):
    """A misspelt option would be added silently and change nothing."""
    monkeypatch.chdir(REPO)
    checked = 0
    for stage in demo.stages(Path('work_dirs/demo'), 3):
        if '--cfg-options' not in stage.command:
            continue
        options = stage.command[stage.command.index('--cfg-options') + 1 :]
        for key in (option.split('=')[0] for option in options):
            if 'init_cfg' in key or key.endswith('outfile_prefix'):
                continue
            found = Config.fromfile(REPO / stage.command[1])
            for part in key.split('.'):
                entries = {str(i): entry for i, entry in enumerate(found)} if isinstance(found, list) else found
                assert part in entries, f'{key} is not in {stage.command[1]}'
                found = entries[part]
            checked += 1
    assert checked >= 10


def test_both_finetunings_differ_in_the_backbone_alone(demo):
    plan = {stage.name: stage for stage in demo.stages(Path('work_dirs/demo'), 0)}
    scratch = [part.replace('scratch', 'RUN') for part in plan['fine-tune from scratch'].command]
    pretrained = [part.replace('/pretrained', '/RUN') for part in plan['fine-tune pre-trained'].command]
    assert pretrained[: len(scratch)] == scratch
    assert all(part.startswith('model.backbone.init_cfg.') for part in pretrained[len(scratch) :])
    assert len(pretrained) == len(scratch) + 2


def test_seed_reaches_data_and_training(demo):
    one, two = (demo.stages(Path('w'), seed) for seed in (1, 2))
    changed = {a.name for a, b in zip(one, two, strict=True) if a.command != b.command}
    assert changed == {
        'draw patches', 'draw glands', 'pre-train', 'draw matched cells',
        'fine-tune from scratch', 'fine-tune pre-trained',
    }  # fmt: skip


def test_printed_commands_are_what_runs(demo, capsys):
    demo.main(['--dry-run'])
    printed = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in printed] == ['python'] * len(printed)
    assert [tuple(line[1:]) for line in printed] == [s.command for s in demo.stages(Path('work_dirs/demo'), 0)]


def test_finished_stages_are_skipped(small, capsys):
    assert small() == 'A0BR'
    assert small() == 'A0BR'
    assert capsys.readouterr().out.count('finished before') == 3


def test_changed_command_runs_anew_with_all_that_follow(small):
    small()
    small.plan['b'] = 'X'
    assert small() == 'A0XR'
    assert small('--seed', '1') == 'A1XR'


def test_removed_result_is_made_again(small):
    small()
    (small.root / 'w' / 'b').unlink()
    assert small() == 'A0BR'


def test_failure_is_told_and_taken_up_again(small, capsys):
    (small.root / 'fail').touch()
    with pytest.raises(SystemExit) as stop:
        small()
    assert 'told to fail' in str(stop.value)
    assert "the stage 'b' ended with status 1" in str(stop.value)
    assert (small.root / 'w' / 'logs' / '02_b.log').is_file()
    (small.root / 'fail').unlink()
    assert small() == 'A0BR'
    assert capsys.readouterr().out.count('finished before') == 1


def test_interrupted_stage_keeps_what_it_has(small):
    """A training that was cut off goes on from its checkpoints, so its folder must still be there."""
    (small.root / 'fail').touch()
    with pytest.raises(SystemExit):
        small()
    (small.root / 'w' / 'b').write_text('half ')
    (small.root / 'fail').unlink()
    assert small() == 'A0half BR'


def test_fresh_begins_anew_and_foreign_folders_are_left_alone(small, capsys):
    small()
    (small.root / 'w' / 'a').write_text('spoilt')
    assert small('--fresh') == 'A0BR'
    foreign = small.root / 'foreign'
    foreign.mkdir()
    (foreign / 'thesis.tex').touch()
    with pytest.raises(SystemExit, match='holds something else'):
        small('--fresh', '--work-dir', str(foreign))
    assert (foreign / 'thesis.tex').is_file()


def test_report_gets_the_commands_and_their_seconds(small):
    small()
    lines = (small.root / 'w' / 'commands.txt').read_text().splitlines()
    assert [line.split(':')[0] for line in lines if line.startswith('#')] == ['# a', '# b', '# report']
    assert sum(line.startswith('python -c') for line in lines) == 3


def test_missing_mmdet_is_told_before_anything_runs(demo, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'mmdet', None)
    with pytest.raises(SystemExit, match='run make setup'):
        demo.main(['--work-dir', str(tmp_path / 'w')])
    assert not (tmp_path / 'w').exists()
