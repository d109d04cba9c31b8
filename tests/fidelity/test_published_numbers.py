"""Numbers of papers, at reduced size, on real MNIST; only what must hold whatever the seed.

Full sizes are boards. `SPARRING_DATA` names the folder with the data.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from boards import metrics, planned
from sparring.suite import Evaluation

pytestmark = [
    pytest.mark.fidelity,
    pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA does not name a folder with MNIST"),
    pytest.mark.timeout(600),
]

MNIST = "mnist[limit_train=10000,limit_test=1000]"


def test_fgsm_destroys_a_shallow_softmax(tmp_path: Path) -> None:
    """Goodfellow et al. 2015, section 4: error 99.9 % at epsilon 0.25 on a shallow softmax."""
    plan = planned([MNIST], ["logistic"], ["fgsm[eps=0.25]", "uniform-noise[eps=0.25]"])
    fgsm, noise = metrics(plan, tmp_path).values()
    assert fgsm["clean-accuracy"] > 0.88
    assert fgsm["robust-accuracy"] < 0.02
    assert noise["robust-accuracy"] > 0.5, "noise of the same budget leaves most images right"


def test_adversarial_training_helps_against_fgsm(tmp_path: Path) -> None:
    """Goodfellow et al. 2015, section 6: error at epsilon 0.25 falls from 89.4 % to 17.9 % with the mixed loss, alpha
    0.5, and clean error does not rise. Direction only: smaller net, 10,000 images, a few epochs."""
    defence = "adversarial-training[method=fgsm,epsilon=0.25,clean_weight=0.5]"
    plan = planned([MNIST], ["mlp[epochs=8]"], ["fgsm[eps=0.25]"], ["none", defence])
    plain, defended = metrics(plan, tmp_path).values()
    assert plain["robust-accuracy"] < 0.1
    assert defended["robust-accuracy"] > 0.5
    assert defended["clean-accuracy"] > plain["clean-accuracy"] - 0.02


def test_fgsm_fools_maxout_and_adversarial_training_helps(tmp_path: Path) -> None:
    """Goodfellow et al. 2015, sections 4 and 6: error 89.4 % at epsilon 0.25 on a maxout network, 17.9 % after training
    with the mixed loss. Direction only: 10,000 images, 3 epochs."""
    defence = "adversarial-training[method=fgsm,epsilon=0.25,clean_weight=0.5]"
    plan = planned([MNIST], ["maxout[epochs=3]"], ["fgsm[eps=0.25]"], ["none", defence])
    plain, defended = metrics(plan, tmp_path).values()
    assert plain["clean-accuracy"] > 0.94
    assert plain["robust-accuracy"] < 0.15
    assert defended["robust-accuracy"] > plain["robust-accuracy"] + 0.3


def test_a_sparse_autoencoder_beats_the_pixels(tmp_path: Path) -> None:
    """Szegedy et al. 2014, table 1: softmax regression errs on 1.9 % of MNIST above 400 units of a sparse autoencoder,
    on 7.4 % above the pixels. Here on 10,000 training images."""
    plan = planned([MNIST], ["logistic[epochs=5]", "autoencoder-softmax"], ["none"])
    pixels, encoded = metrics(plan, tmp_path).values()
    assert encoded["clean-accuracy"] > 0.94
    assert encoded["clean-accuracy"] > pixels["clean-accuracy"] + 0.03


def test_badnets_hides_behind_clean_accuracy(tmp_path: Path) -> None:
    """Gu et al. 2017, section 4: the trigger works on nearly all images, clean error rises by under one point."""
    half = "mnist[limit_train=5000,limit_test=1000]"
    plan = planned([half], ["cnn[epochs=4]"], ["none", "badnets[fraction=0.05]"], ["none", "activation-clustering"])
    clean, clean_sanitised, backdoored, sanitised = metrics(plan, tmp_path).values()
    assert backdoored["asr"] > 0.95
    assert backdoored["clean-accuracy"] > clean["clean-accuracy"] - 0.015
    assert sanitised["sanitiser-recall"] > 0.8, "Chen et al. 2018, table 2: nearly all of the poison is found"
    assert sanitised["asr"] < backdoored["asr"] - 0.2, "the few poisoned rows that are left still count"
    assert clean_sanitised["removed-fraction"] < 0.1


def test_one_pixel_per_class_fools_a_small_network(tmp_path: Path) -> None:
    """Chaudhury 2020, table 1: random pixels leave 57 % test error while training error is near 0."""
    victim = "cnn[channels=[8,16],pool_after=last,learning_rate=1e-3,batch_size=128,schedule=constant,epochs=4]"
    plan = planned(["mnist[limit_train=20000,limit_test=2000]"], [victim], ["none", "random-pixel[intensity=1.0]"])
    clean, poisoned = metrics(plan, tmp_path).values()
    assert clean["clean-accuracy"] > 0.96
    assert poisoned["training-accuracy"] > 0.99
    assert poisoned["accuracy-drop"] > 0.08


FEATURES = "cifar10[classes=[5,6,7,8,9],test=held-out,limit_train=3000,limit_test=100]"
FROZEN = f"feature-svm[external={FEATURES},stages=[1,1,1,1,1],epochs=8]"
HARDENED = "adversarial-training[epsilon=8/255,steps=3]"


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, so that the tests of feature poisons train their feature networks once."""
    return tmp_path_factory.mktemp("store")


def test_adversarial_poisoning_harms_plain_features_most(pretrained: Path) -> None:
    """Chan-Hon-Tong 2021, table 1: accuracy under adversarial poisoning is 24 % on naive features, 34 % on those of
    PGD training. Direction only: a small VGG, half of the classes of CIFAR-10 in the place of CIFAR-100."""
    data = "cifar10[classes=[0,1,2,3,4],test=held-out,limit_train=1000,limit_test=1000]"
    attacks = ["adversarial-poisoning", "label-flip[fraction=0.02]"]
    plain, hardened, flipped, hardened_flipped = metrics(
        planned([data], [FROZEN], attacks, ["none", HARDENED]), pretrained
    ).values()
    assert plain["accuracy-drop"] > hardened["accuracy-drop"] + 0.04
    assert flipped["accuracy-drop"] < 0.05
    assert hardened_flipped["accuracy-drop"] < 0.05


def test_poison_frogs_hit_plain_features_more_often(pretrained: Path) -> None:
    """Chan-Hon-Tong 2021: 85 % of the frogs succeed on naive features, 16 % on those of PGD training. Direction
    only, as above; 20 targets."""
    data = "cifar10[classes=[0,1],test=held-out,limit_train=500,limit_test=500]"
    frogs = "poison-frog[eps=7/255,fraction=0.2,choice=nearest,steps=20]"
    plan = planned([data], [FROZEN], [frogs], ["none", HARDENED], evaluation=Evaluation(trials=20))
    plain, hardened = metrics(plan, pretrained).values()
    assert plain["asr"] >= 0.4
    assert plain["asr"] > hardened["asr"]
    assert plain["accuracy-drop"] < 0.1, "it is one target that is hit"
