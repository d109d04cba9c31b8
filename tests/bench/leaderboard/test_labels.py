"""What is shown is short, and selects the same when it is pasted back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.cell import format_value
from sparring.leaderboard.labels import Names, attack_text, plugin_text, split_attack, split_label
from sparring.selector import parse
from sparring.threat import ALIASES


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("none", "none"),
        ("pgd[epsilon=0.2,steps=20]", "pgd[eps=0.2,steps=20]"),
        ("pgd[norm=l2,epsilon=1,steps=20]", "pgd[norm=l2,eps=1,steps=20]"),
        ("badnets[poison_fraction=0.05]", "badnets[fraction=0.05]"),
        ("square[query_budget=100]", "square[queries=100]"),
        ("pgd[epsilon=0.03137254901960784]", "pgd[eps=8/255]"),
        ("pgd[epsilon=0.0313725490196]", "pgd[eps=8/255]"),
        ("pgd[epsilon=0.0313725]", "pgd[epsilon=0.0313725]".replace("epsilon", "eps")),
        ("transfer[attack=pgd[epsilon=0.2,steps=3],surrogate=cnn]",) * 2,  # inside, it is a parameter of another plugin
        ('x[text="a,epsilon=1"]',) * 2,
        ("pgd[", "pgd["),
        ("a]b[c=1]x", "a]b[c=1]x"),
        ("", ""),
    ],
)
def test_attacks_are_shown_with_the_short_names_of_selectors(label: str, shown: str) -> None:
    assert attack_text(label) == shown


def test_parameters_of_other_plugins_keep_their_names() -> None:
    assert plugin_text("adversarial-training[epsilon=0.03137254901960784]") == "adversarial-training[epsilon=8/255]"


def test_a_board_leaves_out_what_all_of_a_name_have_in_common() -> None:
    names = Names.of(
        ["pgd[epsilon=0.1,steps=20]", "pgd[epsilon=0.3,steps=20]", "none", "fgsm[epsilon=0.1]"],
        ["cnn[epochs=4,learning_rate=0.001]", "cnn[learning_rate=0.001]", "mlp[epochs=3]", "jpeg"],
    )
    assert names.attack("pgd[epsilon=0.1,steps=20]") == "pgd[eps=0.1]"
    assert names.attack("fgsm[epsilon=0.1]") == "fgsm[eps=0.1]"
    assert names.plugin("cnn[epochs=4,learning_rate=0.001]") == "cnn[epochs=4]"
    assert names.plugin("cnn[learning_rate=0.001]") == "cnn"
    assert names.plugin("mlp[epochs=3]") == "mlp[epochs=3]", "there is only one, and it is short"
    assert names.left_out == ("cnn[learning_rate=0.001]", "pgd[steps=20]")


def test_a_plugin_inside_another_goes_by_its_name_where_that_tells_it_apart() -> None:
    labels = ["svm[external=mnist[classes=[5,6]],width=8]", "svm[external=cifar10[test=held-out],width=8]"]
    names = Names.of([], labels)
    assert [names.plugin(label) for label in labels] == ["svm[external=mnist]", "svm[external=cifar10]"]
    (told,) = names.left_out
    assert told == "svm[external=cifar10[test=held-out],external=mnist[classes=[5,6]],width=8]"
    alike = ["svm[external=mnist[classes=[5,6]]]", "svm[external=mnist[classes=[7,8]]]"]
    assert [Names.of([], alike).plugin(label) for label in alike] == alike


def test_what_an_attack_is_allowed_is_never_left_out() -> None:
    labels = [f"pgd[norm=l2,epsilon=0.5,{other}]" for other in ("steps=20", "steps=40")]
    assert Names.of(labels, []).attack(labels[0]) == "pgd[norm=l2,eps=0.5,steps=20]"


def test_a_lone_long_name_is_told_below_the_tables() -> None:
    label = "cnn[channels=[8,16],batch_norm=true,learning_rate=0.001,schedule=constant]"
    names = Names.of([], [label])
    assert names.plugin(label) == "cnn"
    assert names.left_out == ("cnn[batch_norm=true,channels=[8,16],learning_rate=0.001,schedule=constant]",)


@given(
    st.lists(st.sampled_from(["a=1", "a=2", "b=1", "c=[1,2]", "d=e[f=1]", "d=g[f=1]", "epsilon=0.1"]), unique=True).map(
        sorted
    )
)
def test_shortened_names_stay_distinct(params: list[str]) -> None:
    labels = [f"x[{','.join(params)}]" if params else "x", "x[a=1,b=1]", "x[a=1]", "y[b=1]"]
    names = Names.of(labels, labels)
    assert len({names.attack(label) for label in labels}) == len(set(labels))
    assert len({names.plugin(label) for label in labels}) == len(set(labels))


def test_label_is_split_at_its_own_commas_only() -> None:
    assert split_label("a[b=[1,2],c=d[e=1,f=2]]") == ("a", ("b=[1,2]", "c=d[e=1,f=2]"))
    assert split_attack("pgd[epsilon=0.1,steps=20]") == ("pgd", ("eps=0.1", "steps=20"))
    assert split_label("jpeg") == ("jpeg", ())


@given(st.integers(1, 254))
def test_steps_of_an_8_bit_image_select_the_same_number(k: int) -> None:
    _, settings = parse(attack_text(f"pgd[epsilon={format_value(k / 255)}]"))
    assert settings == {"eps": k / 255}


@given(st.floats(0, 1), st.sampled_from(sorted(ALIASES.values())))
def test_whatever_is_shown_reads_back_within_a_billionth(value: float, field: str) -> None:
    name, settings = parse(attack_text(f"pgd[{field}={format_value(value)}]"))
    ((key, read),) = settings.items()
    assert name == "pgd"
    assert ALIASES[key] == field
    assert read == pytest.approx(value, abs=1e-9)


@given(st.text(max_size=60))
def test_any_text_is_shown(text: str) -> None:
    assert isinstance(attack_text(text), str)
    assert isinstance(plugin_text(text), str)
