"""First-party attacks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sparring.hookspecs import hookimpl
from sparring.plugin import AttackSpec
from sparring_attacks import (
    adversarial_poisoning,
    apgd,
    autoattack,
    autozoom,
    badnets,
    bim,
    boundary,
    bullseye_polytope,
    clean_label_backdoor,
    cw_l2,
    dba,
    deep_confuse,
    deepfool,
    difference_of_means,
    ead,
    fab,
    feature_adversary,
    fgm_l2,
    fgsm,
    finite_difference,
    gaussian_noise,
    gen_attack,
    geoda,
    gradient_matching,
    hand_placed_pixel,
    hidden_trigger,
    hop_skip_jump,
    influence_poisoning,
    jacobsen_pixel,
    jsma,
    label_flip,
    label_flip_loss,
    label_flip_targeted,
    lbfgs,
    masked_patch,
    mi_fgsm,
    nes,
    none,
    one_pixel,
    pgd,
    poison_frog,
    random_pixel,
    random_search_pixel,
    sign_opt,
    simba,
    single_pixel,
    sleeper_agent,
    square,
    svm_poisoning,
    targeted_uap,
    transfer,
    uap,
    uniform_noise,
    unlearnable,
    wasserstein,
    zo_adam,
    zo_signsgd,
    zoo,
)

if TYPE_CHECKING:
    from sparring.cell import Cell

RELABELLING = {
    "label-flip": "label-flip changes nothing but labels (Biggio et al. 2011, section 3)",
    "badnets": "badnets relabels what it stamps (Gu et al. 2017, section 4.1); "
    "without that it would be a clean-label backdoor (Turner et al. 2019)",
    "label-flip-targeted": "label-flip-targeted changes nothing but labels (Tolpegin et al. 2020, section 3.2)",
    "label-flip-loss": "label-flip-loss changes nothing but labels (Xiao et al. 2012, section 3.1)",
    "svm-poisoning": "svm-poisoning moves rows that have got another label (Biggio et al. 2012, section 3)",
    "dba": "dba relabels what it marks (Xie et al. 2020, section 3.1)",
}


@hookimpl
def sparring_attacks() -> Iterable[AttackSpec]:
    return (
        none.SPEC,
        gaussian_noise.SPEC,
        uniform_noise.SPEC,
        fgsm.SPEC,
        pgd.SPEC,
        label_flip.SPEC,
        random_pixel.SPEC,
        jacobsen_pixel.SPEC,
        hand_placed_pixel.SPEC,
        random_search_pixel.SPEC,
        single_pixel.SPEC,
        badnets.SPEC,
        poison_frog.SPEC,
        adversarial_poisoning.SPEC,
        deep_confuse.SPEC,
        fgm_l2.SPEC,
        bim.SPEC,
        mi_fgsm.SPEC,
        apgd.SPEC,
        autoattack.SPEC,
        fab.SPEC,
        ead.SPEC,
        square.SPEC,
        simba.SPEC,
        one_pixel.SPEC,
        boundary.SPEC,
        hop_skip_jump.SPEC,
        sign_opt.SPEC,
        geoda.SPEC,
        jsma.SPEC,
        deepfool.SPEC,
        cw_l2.SPEC,
        lbfgs.SPEC,
        transfer.SPEC,
        difference_of_means.SPEC,
        uap.SPEC,
        targeted_uap.SPEC,
        feature_adversary.SPEC,
        masked_patch.SPEC,
        wasserstein.SPEC,
        nes.SPEC,
        finite_difference.SPEC,
        zo_signsgd.SPEC,
        zo_adam.SPEC,
        zoo.SPEC,
        autozoom.SPEC,
        gen_attack.SPEC,
        dba.SPEC,
        label_flip_targeted.SPEC,
        label_flip_loss.SPEC,
        svm_poisoning.SPEC,
        unlearnable.SPEC,
        clean_label_backdoor.SPEC,
        hidden_trigger.SPEC,
        bullseye_polytope.SPEC,
        gradient_matching.SPEC,
        sleeper_agent.SPEC,
        influence_poisoning.SPEC,
    )


@hookimpl
def sparring_objections(cell: Cell) -> Iterable[str]:
    """Attacks that work by changing labels, where the threat model forbids it."""
    if cell.threat.label_changes is False and cell.attack.name in RELABELLING:
        yield RELABELLING[cell.attack.name]
