"""Recipes: what is inherited and overridden, and that whatever is wrong is told by file and field."""

import pytest

from histomm.engine.reproduce import RecipeError, read_recipe


def put(node, dotted, value):
    *path, last = dotted.split('/')
    for part in path:
        node = node[part]
    if value is KeyError:
        del node[last]
    else:
        node[last] = value


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('tabel', 'x', r'tabel: is no known field, expected one of title, paper, table'),
        ('table', KeyError, r"the file: has no field 'table'"),
        ('seeds', 'two', r"seeds: is 'two', expected int"),
        ('seeds', 0, r'seeds: is 0, expected at least 1'),
        ('stages/fine/optoins', {}, r'stages\.fine\.optoins: is no known field, expected one of kind, folder, config'),
        ('stages/fine/kind', 'extract', r"stages\.fine\.kind: is 'extract', expected one of command, train, test"),
        ('stages/make/outputs', 'result', r"stages\.make\.outputs: is 'result', expected list"),
        ('stages/make/script', KeyError, r"stages\.make: has no field 'script'"),
        ('columns/AP/stage', 'fien', r"columns\.AP\.stage: 'fien' is no stage, expected one of make, weights, fine"),
        ('columns/AP/stage', 'make', r"columns\.AP\.stage: 'make' is a command without the field metrics"),
        (
            'columns/AP/statistic',
            'best',
            r"columns\.AP\.statistic: 'best' is no statistic, expected one of mean, median",
        ),
        ('stages/make/metrics', 3, r'stages\.make\.metrics: is 3, expected str'),
        ('columns/AP/metrics', 'x', r'columns\.AP\.metrics: is no known field'),
        ('columns/AP/average', ['AP'], r'columns\.AP\.stage: is no known field, expected one of average, digits, stat'),
        ('columns/Mean', {'average': []}, r'columns\.Mean\.average: names no columns'),
        ('columns/Mean', {'average': ['PA']}, r"columns\.Mean\.average: 'PA' is no column, expected one of AP, Mean"),
        ('columns/Mean', {'average': ['Mean']}, r"columns\.Mean\.average: 'Mean' is an average itself"),
        ('rows/first/metrics', {'PA': 'x'}, r"rows\.first\.metrics: 'PA' is no column, expected one of AP"),
        ('rows/first/published/PA', 1, r"rows\.first\.published: 'PA' is no column, expected one of AP"),
        ('rows/first/published/AP', 'high', r"rows\.first\.published\.AP: is 'high', expected a number or null"),
        ('rows/first/instead', {'fine': 'x'}, r"rows\.first\.instead\.fine: 'x' is no stage"),
        ('rows/first/instead', {'x': 'fine'}, r"rows\.first\.instead: 'x' is no stage"),
        ('rows/first/names/seed', 1, r'rows\.first\.names\.seed: is the name of a stage, or of what the tool itself'),
        ('names/make', 'x', r'names\.make: is the name of a stage'),
        ('budgets/tiny/note', KeyError, r"budgets\.tiny: has no field 'note'"),
        ('budgets/tiny/row', {}, r'budgets\.tiny\.row: is no known field, expected one of note, names, stages, seeds'),
    ],
)
def test_what_is_wrong_is_told_by_file_and_field(toy, field, value, message):
    put(toy.recipe, field, value)
    with pytest.raises(RecipeError, match=rf'^recipe \S+/recipe\.yaml: {message}'):
        toy.plan()


def test_an_average_has_no_metric_in_a_row_either(toy):
    toy.recipe['columns']['Mean'] = {'average': ['AP']}
    toy.recipe['rows']['first']['metrics'] = {'Mean': 'x'}
    with pytest.raises(RecipeError, match=r'rows\.first\.metrics\.Mean: is an average of columns'):
        toy.plan()


def test_override_of_a_budget_is_checked_as_what_it_makes(toy):
    toy.recipe['budgets']['tiny']['stages'] = {'fine': {'confg': 'x'}}
    toy.plan()
    with pytest.raises(RecipeError, match=r'stages\.fine\.confg: is no known field'):
        toy.plan('tiny')


def test_unknown_budget_file_and_broken_yaml(toy, tmp_path):
    with pytest.raises(RecipeError, match=r"budgets: found no 'huge', only full, tiny"):
        toy.plan('huge')
    with pytest.raises(RecipeError, match=r'none\.yaml: no such file'):
        read_recipe(tmp_path / 'none.yaml')
    (tmp_path / 'broken.yaml').write_text('title: [\n')
    with pytest.raises(RecipeError, match=r'broken\.yaml: cannot be read, while parsing'):
        read_recipe(tmp_path / 'broken.yaml')


def test_budget_merges_dicts_and_replaces_the_rest(toy):
    toy.recipe['stages']['fine']['options'] |= {'a': [1, 2]}
    toy.recipe['budgets']['tiny']['stages']['fine'] |= {'config': 'other.py'}
    toy.recipe['budgets']['tiny']['stages']['fine']['options'] |= {'a': [3]}
    recipe = toy.plan('tiny', check=False).recipe
    assert recipe.stages['fine'].fields == {
        'config': 'other.py',
        'options': {'randomness.seed': '{seed}', '+load_from': '{weights}/result', 'a': [3], 'train_cfg.max_iters': 1},
    }
    assert (recipe.seeds, recipe.budget_note) == (1, 'Everything is tiny.')


def test_inherits_as_configs_do(toy, tmp_path):
    toy.plan()
    (toy.repo / 'own.yaml').write_text('_base_: recipe.yaml\ntitle: Mine\nrows: {third: {names: {method: three}}}\n')
    recipe = read_recipe(toy.repo / 'own.yaml')
    assert (recipe.title, list(recipe.rows)) == ('Mine', ['first', 'second', 'third'])


def test_names_can_be_given(toy):
    plan = toy.plan()
    recipe = read_recipe(plan.recipe.path, names={'patches': '/elsewhere'})
    assert recipe.names['patches'] == '/elsewhere'
    with pytest.raises(RecipeError, match=r"names: 'pathces' is no name, expected one of patches, word"):
        read_recipe(plan.recipe.path, names={'pathces': '/elsewhere'})


def test_relative_places_count_from_where_the_command_is_given(toy, tmp_path, monkeypatch):
    """The tools run in the repository, which need not be there."""
    monkeypatch.chdir(tmp_path)
    toy.plan()
    names = read_recipe(toy.repo / 'recipe.yaml', names={'patches': 'mine/patches', 'word': 'other'}).names
    assert names == {'patches': f'{tmp_path}/mine/patches', 'word': 'other'}
    assert read_recipe(toy.repo / 'recipe.yaml', names={'patches': '{root}/p'}).names['patches'] == '{root}/p'
