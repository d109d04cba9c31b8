"""Suite files: what they become, what is said of a bad one, and the cells they expand into."""

from __future__ import annotations

import json
import os
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.errors import BadInput
from sparring.exclusion import CellPattern, glob_match
from sparring.plugin import Kind
from sparring.suite import all_cells, expand, load_suite, suite_from_selectors, suite_schema
from sparring.threat import Budget, Goal, Norm, ThreatModel, When

GOOD = """\
datasets: [dots]
victims: [cnn]
attacks: [none]
defences: [none]
"""


@pytest.fixture
def load(tmp_path, zoo):
    """`load(text)`: the suite that a file with this text gives."""

    def _load(text):
        file = tmp_path / "my-board" / "suite.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(dedent(text))
        return load_suite(file, zoo)

    return _load


def ids(suite, catalogue):
    return [cell.id for cell in expand(suite, catalogue)]


def test_the_smallest_suite_has_the_defaults(load, zoo):
    suite = load(GOOD)
    assert suite.name == "my-board"
    assert (suite.seed, suite.repetitions, suite.metrics, suite.threats) == (0, 1, (), (ThreatModel(),))
    assert (suite.evaluation.samples, suite.evaluation.trials, suite.evaluation.expectation) == (512, 8, 10)
    assert suite.evaluation.false_positive_rate == 0.05
    assert (suite.limits.seconds, suite.limits.memory) == (None, None)
    assert (suite.splits.attacker_val, suite.splits.defender_clean) == (0, 0)
    assert ids(suite, zoo) == ["dots/cnn/none/none/r0"]


def test_a_full_suite(load, zoo, tmp_path):
    suite = load("""
        name: full
        title: A title
        seed: 7
        repetitions: 2
        datasets:
          - dots: {classes: [0, 1]}
        victims: [cnn, random-forest]
        attacks:
          - none
          - pgd[steps=20]
          - pgd: {eps: ["8/255", 0.2], steps: 10, norm: linf}
        defences: [none, "squeeze[bits=[1,2]]"]
        threats:
          - {norm: l2, eps: [0.5, 1]}
        metrics: [accuracy]
        limits: {seconds: 90s, memory: 4GiB}
        splits: {attacker_val: 10, defender_clean: 20}
        evaluation: {samples: 16, false_positive_rate: 0.1}
        exclude:
          - "*/random-forest/pgd*"
          - {attack: pgd, defence: "squeeze[bits=1]*"}
    """)
    assert load_suite(tmp_path / "my-board", zoo) == suite
    assert (suite.name, suite.title, suite.seed, suite.repetitions) == ("full", "A title", 7, 2)
    assert (suite.limits.seconds, suite.limits.memory) == (90.0, 4 * 2**30)
    assert [str(defence) for defence in suite.defences] == ["none", "squeeze[bits=1]", "squeeze[bits=2]"]
    assert suite.threats == (ThreatModel(norm=Norm.L2, epsilon=0.5), ThreatModel(norm=Norm.L2, epsilon=1.0))
    assert [(str(attack), str(threat)) for attack, threat in suite.attacks] == [
        ("none", "any"),
        ("pgd[steps=20]", "any"),
        ("pgd[steps=10]", "norm=linf, epsilon=0.0313725"),
        ("pgd[steps=10]", "norm=linf, epsilon=0.2"),
    ]
    found = ids(suite, zoo)
    assert len(found) == len(set(found))
    assert not any("random-forest/pgd" in one or ("pgd" in one and "bits=1" in one) for one in found)
    expected = {
        f"dots[classes=[0,1]]/cnn/{attack}/{defence}/r{repetition}"
        for repetition in range(2)
        for attack in (
            "pgd[norm=l2,epsilon=0.5,steps=20]",
            "pgd[norm=l2,epsilon=1,steps=20]",
            "pgd[epsilon=0.03137254901960784,steps=10]",
            "pgd[epsilon=0.2,steps=10]",
        )
        for defence in ("none", "squeeze[bits=2]@oblivious", "squeeze[bits=2]@adaptive")
    } | {
        f"dots[classes=[0,1]]/{victim}/none/{defence}/r{repetition}"
        for repetition in range(2)
        for victim in ("cnn", "random-forest")
        for defence in ("none", "squeeze[bits=1]", "squeeze[bits=2]")
    }
    assert set(found) == expected
    assert found == ids(suite, zoo)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "repetitoins: 3\n", ":5: unknown key 'repetitoins'; did you mean 'repetitions'?"),
        (GOOD + "limits:\n  secnds: 3\n", ":6: limits: unknown key 'secnds'; did you mean 'seconds'?"),
        (
            GOOD + "limits:\n  seconds: 5 parsecs\n",
            ":6: limits: seconds should be a number with one of the units",
        ),
        (
            GOOD + "limits:\n  memory: 4 GiBs\n",
            ":6: limits: memory should be a number with one of the units B, kB",
        ),
        (GOOD + "limits:\n  seconds: 0\n", ":6: limits: seconds should be greater than 0, not 0"),
        (
            GOOD + "evaluation:\n  samples: 0\n",
            ":6: evaluation: samples should be greater than or equal to 1",
        ),
        (
            GOOD + "evaluation: {false_positive_rate: .nan}\n",
            ":5: evaluation: false_positive_rate should be",
        ),
        (GOOD + "repetitions: 0\n", ":5: repetitions should be greater than or equal to 1, not 0"),
        (GOOD + "repetitions: true\n", ":5: repetitions should be a valid integer, not True"),
        (GOOD + "seed: one\n", ":5: seed should be a valid integer, not 'one'"),
        (
            GOOD + "exclude:\n  - {atack: pgd}\n",
            ":6: exclude: unknown key 'atack'; did you mean 'attack'?",
        ),
        (
            GOOD + "metrics:\n- accuracy\n- acuracy\n",
            ":7: metrics: there is no metric 'acuracy'; did you mean 'accuracy'?",
        ),
        (
            GOOD + "threats:\n- epsilom: 1\n",
            ":6: threats: the threat model has no field 'epsilom'; did you mean 'epsilon'?",
        ),
        (GOOD + "threats:\n- eps: -1\n", ":6: threats: the threat model: epsilon must be at least 0, not -1"),
        (GOOD + "seed: 1\nseed: 2\n", ":6: the key 'seed' stands here a second time"),
        (GOOD + "1: 2\n", ":5: a key is text; quote '1'"),
        (GOOD.replace("[dots]", "[]"), ":1: datasets is an empty list"),
        (
            GOOD + "exclude: [3]\n",
            ":5: exclude: each entry is a pattern, or a mapping of dataset, victim, attack, defence",
        ),
        (GOOD.replace("[dots]", "dots"), ":1: datasets should be a valid list, not 'dots'"),
        (
            GOOD.replace("[dots]", "[[dots]]"),
            ":1: datasets: each entry is 'name', 'name[param=value]' or 'name: {param:",
        ),
        (GOOD.replace("[dots]", "[{dots: {}, lines: {}}]"), ":1: datasets: expected a dataset as 'name'"),
        (GOOD.replace("datasets: [dots]\n", ""), ":1: the key 'datasets' is missing"),
        (GOOD.replace("datasets", "dataset"), ":1: unknown key 'dataset'; did you mean 'datasets'?"),
        (GOOD.replace("[dots]", "[dits]"), ":1: datasets: there is no dataset 'dits'; did you mean 'dots'?"),
        (
            GOOD.replace("[cnn]", "[cnn, random-frest]"),
            ":2: victims: there is no victim 'random-frest'; did you mean 'ran",
        ),
        (
            GOOD.replace("[none]\n", "\n- none\n- pgd:\n    steps: 3\n    epz: 0.1\n", 1),
            ":7: attacks: pgd has no parameter 'epz'; did you mean 'eps'?",
        ),
        (GOOD.replace("[none]\n", "\n- pgd[steps=0]\n", 1), ":4: attacks: pgd: steps must be at least 1, not 0"),
        (GOOD.replace("[none]\n", "\n- pgd[steps=\n", 1), ":4: attacks: expected a value at column 11 of 'pgd[steps='"),
        (GOOD.replace("[none]\n", "\n- pgd: {eps: 1, epsilon: 2}\n", 1), ":4: attacks: pgd: epsilon is set twice"),
        (
            GOOD.replace("defences: [none]", "defences: [alarm]"),
            ":4: alarm is calibrated on clean rows; set defender_clean",
        ),
        ("- a\n", ":1: this is a list; a suite is a mapping with the keys datasets, victims, attacks and defences"),
        ("", ": the file is empty; a suite is a mapping with the keys datasets, victims, attacks and defences"),
        ("a: [1\nb: 2\n", ":2: is no YAML: expected ',' or ']', but got ':'"),
        ("a: !!python/object/apply:os.system ['true']\n", ":1: the tag 'tag:yaml.org,2002:python/"),
        ("a: !!python/name:os.system\n", ":1: is no YAML: could not determine a constructor for the tag"),
        ("a: !!set {x}\n", ":1: the tag 'tag:yaml.org,2002:set' means nothing here"),
        ("a: &a [*a]\n", ": is nested too deeply"),
        ("a: \x00\n", ": is no YAML: special characters are not allowed"),
    ],
)
def test_a_bad_file_is_told_with_line_key_and_near_miss(load, tmp_path, text, message):
    with pytest.raises(BadInput) as caught:
        load(text)
    assert str(caught.value).startswith(f"{tmp_path / 'my-board' / 'suite.yaml'}{message}")


def test_aliases_that_explode_are_refused(load):
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    with pytest.raises(BadInput, match="is too large, or refers to itself"):
        load("\n".join(lines))


def test_files_that_cannot_be_read(tmp_path, zoo):
    with pytest.raises(BadInput, match=r"gone\.yaml: there is no such suite file$"):
        load_suite(tmp_path / "gone.yaml", zoo)
    with pytest.raises(BadInput, match=r"suite\.yaml: there is no such suite file$"):
        load_suite(tmp_path, zoo)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"binary\.yaml: is not a text file in UTF-8$"):
        load_suite(tmp_path / "binary.yaml", zoo)


@given(st.text())
def test_no_text_makes_reading_raise_anything_but_bad_input(tmp_path_factory, text):
    from sparring.located_yaml import read_yaml

    file = tmp_path_factory.getbasetemp() / f"any-{os.getpid()}.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        value = read_yaml(file).value
    except BadInput as error:
        value = str(error)
    assert value is None or isinstance(value, str | bool | int | float | list | dict)


def test_yaml_values_that_are_no_plain_data_stay_text(tmp_path):
    from sparring.located_yaml import read_yaml

    file = tmp_path / "a.yaml"
    file.write_text("a: 2024-01-02\nb: 2024-13-45\nc: 1e3\n")
    assert read_yaml(file).value == {"a": "2024-01-02", "b": "2024-13-45", "c": "1e3"}


def test_selectors_make_the_same_suite_as_a_file(load, zoo):
    from_file = load("""
        name: selected
        datasets: [dots]
        victims: [cnn]
        attacks: [pgd: {eps: 0.3}]
        defences: [none]
    """)
    spelt = suite_from_selectors(zoo, datasets=["dots"], victims=["cnn"], attacks=["pgd[eps=0.3]"])
    assert spelt == from_file
    assert spelt.digest == from_file.digest
    with pytest.raises(BadInput) as caught:
        suite_from_selectors(zoo, datasets=["dots"], victims=["cnn"], attacks=["pgd[epz=0.3]"])
    assert str(caught.value) == "attacks: pgd has no parameter 'epz'; did you mean 'eps'?"


def test_controls_are_named_like_what_the_suite_has(load):
    assert load(GOOD + "controls: [none]\n").controls == ("none",)
    with pytest.raises(
        BadInput, match="no attack or defence of the suite is like 'nome'; did you mean 'none'"
    ) as caught:
        load(GOOD + "controls: [none, nome]\n")
    assert "suite.yaml:5: controls:" in str(caught.value)


def test_the_digest_holds_what_is_run_and_no_more(load):
    base = load(GOOD)
    assert len(base.digest) == 64
    for same in ("title: T\n", "# comment\n", "seed: 0\n", "threats: [{}]\n"):
        assert load(GOOD + same).digest == base.digest
    changes = ("seed: 1\n", "repetitions: 2\n", "limits: {seconds: 5}\n", "threats: [{eps: 1}]\n", "exclude: [x]\n")
    digests = {load(GOOD + change).digest for change in changes}
    assert len(digests | {base.digest}) == len(changes) + 1


def cells(zoo, **axes):
    axes = {"datasets": ["dots"], "victims": ["cnn"], **axes}
    return expand(suite_from_selectors(zoo, **axes), zoo)


def test_an_attack_that_reads_nothing_is_one_cell_on_every_threat_axis(zoo):
    axis = [{"epsilon": [0.1, 0.2]}, {"norm": "l2", "goal": "targeted"}, {"fraction": 0.5}]
    (cell,) = cells(zoo, attacks=["none"], threats=axis)
    assert cell.threat == ThreatModel(when=When.NEVER, goal=Goal.NOTHING)
    assert cell.id == "dots/cnn/none/none/r0"
    flips = cells(zoo, attacks=["label-flip"], threats=axis)
    assert [cell.attack_label for cell in flips] == [
        "label-flip[poison_fraction=0.1]",
        "label-flip[poison_fraction=0.5]",
    ]


def test_the_threat_model_is_inline_over_axis_over_defaults(zoo):
    axis = [{"epsilon": 0.1}, {"norm": "l2"}]
    found = cells(zoo, attacks=["pgd", "pgd[eps=0.7]", "pgd[goal=targeted]"], threats=axis)
    assert [cell.attack_label for cell in found] == [
        "pgd[epsilon=0.1]",
        "pgd[norm=l2,epsilon=0.3]",
        "pgd[epsilon=0.7]",
        "pgd[norm=l2,epsilon=0.7]",
        "pgd[goal=targeted,epsilon=0.1]",
        "pgd[goal=targeted,norm=l2,epsilon=0.3]",
    ]
    assert all(cell.threat.when is When.INFERENCE and cell.threat.goal and cell.threat.norm for cell in found)


def test_a_minimal_budget_has_no_epsilon_and_an_epsilon_means_bounded(zoo):
    (minimal,) = cells(zoo, attacks=["carlini-wagner"])
    assert (minimal.threat.budget, minimal.threat.epsilon) == (Budget.MINIMAL, None)
    (bounded,) = cells(zoo, attacks=["carlini-wagner[eps=0.5]"])
    assert (bounded.threat.budget, bounded.threat.epsilon) == (Budget.BOUNDED, 0.5)
    assert bounded.attack_label == "carlini-wagner[budget=bounded,epsilon=0.5]"


@pytest.mark.parametrize(
    ("attack", "defence", "expected"),
    [
        ("pgd", "none", [None]),
        ("pgd", "squeeze", [False, True]),
        ("pgd[adaptive=true]", "squeeze", [True]),
        ("pgd[adaptive=true]", "none", [None]),
        ("square", "opaque", [False, True]),
        ("none", "squeeze", [None]),
        ("label-flip", "squeeze", [None]),
        ("transfer", "squeeze", [None]),
    ],
)
def test_a_guard_is_attacked_obliviously_and_adaptively_where_it_matters(zoo, attack, defence, expected):
    found = cells(zoo, attacks=[attack], defences=[defence])
    assert [cell.threat.adaptive for cell in found] == expected


def test_a_reference_to_the_victim_is_that_of_the_cell(zoo):
    found = cells(zoo, victims=["cnn", "random-forest"], attacks=["transfer[surrogate=victim]"])
    assert [cell.attack.params.surrogate for cell in found] == [
        zoo.default(Kind.VICTIM, "cnn"),
        zoo.default(Kind.VICTIM, "random-forest"),
    ]


def test_nothing_left_says_which_pattern_left_out_how_many(load, zoo):
    suite = load(GOOD + "repetitions: 3\nexclude: ['*/r0', {victim: cnn}]\n")
    assert len(all_cells(suite, zoo)) == 3
    with pytest.raises(BadInput) as caught:
        expand(suite, zoo)
    assert str(caught.value) == "no cell is left to run: 'victim: cnn' leaves out 2; '*/r0' leaves out 1"


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("pgd[eps=[1,2]]", "pgd[eps=[1,2]]", True),
        ("pgd[*]", "pgd[steps=3]", True),
        ("pgd[*]", "pgd", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("*/r0", "a/b/c/r0", True),
        ("pgd", "pgd-x", False),
        ("a.c", "abc", False),
    ],
)
def test_only_star_and_question_mark_are_special(pattern, text, fits):
    assert glob_match(pattern, text) is fits


@given(st.text(alphabet="ab[](){}.+|^$\\!-/"))
def test_any_text_without_star_and_question_mark_fits_itself_alone(text):
    assert glob_match(text, text)
    assert not glob_match(text, text + "x")


def test_all_stated_parts_of_a_pattern_must_fit(zoo):
    (cell,) = cells(zoo, attacks=["pgd[steps=3]"])
    assert CellPattern(parts=(("attack", ("pgd",)), ("victim", ("c?n",)))).matches(cell)
    assert CellPattern(parts=(("attack", ("pgd[epsilon=0.3,steps=3]",)),)).matches(cell)
    assert not CellPattern(parts=(("attack", ("pgd",)), ("victim", ("mlp",)))).matches(cell)


def test_of_several_patterns_of_a_part_one_must_fit(load, zoo):
    product = """
        datasets: [dots]
        victims: [cnn, random-forest]
        attacks: [none, "pgd[steps=[3,4]]"]
        defences: [none, "squeeze[bits=1]", "squeeze[bits=2]"]
        """
    exclude = """
        exclude:
          - {attack: [none, "pgd[*steps=3*]"], defence: ["squeeze[bits=1]", "squeeze[bits=2]"]}
          - {victim: [random-forest], attack: pgd}
        """

    def stays(cell):
        guarded, three_steps = "squeeze" in cell, "steps=3" in cell
        attacked, forest = "pgd" in cell, "random-forest" in cell
        return not (guarded and (not attacked or three_steps)) and not (forest and attacked)

    everything, left = ids(load(dedent(product)), zoo), ids(load(dedent(product) + dedent(exclude)), zoo)
    assert left == [cell for cell in everything if stays(cell)]
    assert 0 < len(left) < len(everything)


@pytest.mark.parametrize("patterns", ["[]", "[1]", "{a: b}"])
def test_patterns_that_are_none_are_named_with_their_line(load, patterns):
    with pytest.raises(BadInput, match=r"suite.yaml:5: exclude"):
        load(GOOD + f"exclude: [{{attack: {patterns}}}]\n")


def test_the_published_schema_fits_a_good_file_and_is_json():
    schema = suite_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert set(schema["required"]) == {"datasets", "victims", "attacks", "defences"}
    assert schema["additionalProperties"] is False
