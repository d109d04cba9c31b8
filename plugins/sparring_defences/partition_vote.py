"""Deep partition aggregation: a vote of models on disjoint parts, and how many changed rows it withstands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sparring.contracts import Certificate, Context, Victim
    from sparring.data import ArrayDataset, Arrays, IntArray
    from sparring.model import Model
    from sparring.training import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    parts: int = param(20, "models, each with its part of the training set (k)", at_least=1)


class PartitionVote:
    """Levine & Feizi 2021, section 3 (DPA). A row's part is a hash of its pixels; each part trains a model of its
    own, from a seed of its own, so that a row that is added or removed reaches one model. With n_c votes for the
    answer c, the answer stays while at most floor((n_c - max_{c' != c} (n_c' + [c' < c])) / 2) models change (theorem
    1).

    The radius is in rows that are replaced, as poisonings here do: a replaced row leaves one part and enters another,
    so that two models change, and the radius is half the theorem's (which counts a replaced row as two).
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def fit(self, victim: Victim, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        from sparring_defences.votes import VotingModel

        part, members = parts_of(train, self.params.parts), {}
        for k, own in enumerate(_contexts(ctx, self.params.parts)):
            if (part == k).any():
                members[k] = victim.fit(train.rows(part == k), recipe, own)
            ctx.progress(k + 1, self.params.parts, "parts trained")
        return VotingModel(members, self.params.parts, train.classes)

    def restore(self, victim: Victim, state: Arrays, ctx: Context) -> Model:
        from sparring_defences.votes import VotingModel

        own: dict[int, dict[str, NDArray[Any]]] = {}
        for name, array in state.items():
            number, _, rest = name.partition("/")
            if number.isdigit():
                own.setdefault(int(number), {})[rest] = array
        members = {k: victim.restore(arrays, ctx) for k, arrays in own.items()}
        return VotingModel(members, self.params.parts, int(state["classes"]))

    def certify(self, model: Model, x: Tensor, ctx: Context) -> Certificate:
        import numpy as np

        from sparring.contracts import Certificate

        votes = model.scores(x).cpu().numpy().round().astype(np.int64)
        changes = changes_withstood(votes)
        return Certificate(votes.argmax(axis=1), (changes // 2).astype(np.float64), "rows")


def parts_of(train: ArrayDataset, parts: int) -> IntArray:
    """(N,) the part of each row, by a checksum of its pixels as float32, whatever they are stored as."""
    import zlib

    import numpy as np

    return np.array([zlib.crc32(np.ascontiguousarray(image).data) % parts for image in train.x], dtype=np.int64)


def changes_withstood(votes: IntArray) -> IntArray:
    """(N,) how many voters may change without changing the answer, by (N, K) votes; ties fall to the lower class."""
    import numpy as np

    rows, winner = np.arange(len(votes)), votes.argmax(axis=1)
    rivals = votes + (np.arange(votes.shape[1]) < winner[:, None])
    rivals[rows, winner] = -1
    withstood: IntArray = ((votes[rows, winner] - rivals.max(axis=1)) // 2).astype(np.int64)
    return withstood


def _contexts(ctx: Context, parts: int) -> list[Context]:
    """One for each part: what a part's model is must not depend on the rows of another. None has a checkpoint."""
    import numpy as np

    from sparring.contracts import Context

    seeds = np.random.SeedSequence(ctx.seed).generate_state(parts, dtype=np.uint32)
    return [
        Context(int(seed), ctx.device, ctx.scratch, deadline=ctx.deadline, threads=ctx.threads)
        for seed in seeds.tolist()
    ]


SPEC = DefenceSpec(
    name="partition-vote",
    summary="A vote of models trained on disjoint parts, certain to stand a number of poisoned rows.",
    citation="Levine & Feizi 2021, Deep partition aggregation: provable defense against general poisoning attacks, "
    "section 3; arXiv 2006.14768",
    params=Params,
    load=PartitionVote,
    acts=frozenset({Act.OWN_FIT, Act.CERTIFY}),
    needs=frozenset({Access.DECISIONS}),
    offers=frozenset({Access.DECISIONS, Access.SCORES}),
)
