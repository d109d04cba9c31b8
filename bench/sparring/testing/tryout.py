"""A plugin that is tried: a subject that can be run in scenes, and the run that most checks look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from sparring.testing.check import Impossible
from sparring.testing.scene import BASE, Scene
from sparring.testing.subject import Subject

if TYPE_CHECKING:
    from sparring.testing.fingerprints import Answers
    from sparring.testing.performance import Performance


class Tryout(Subject):
    """A subject that can be run. Import-light until it is."""

    def perform(self, scene: Scene) -> Performance:
        """Run all acts of the plugin in a scene.

        Raises:
            PluginRaised: the plugin raised something.
        """
        from sparring.testing.acting import PERFORMERS

        return PERFORMERS[self.kind](self, scene)

    @property
    def base(self) -> Base:
        """The run that most checks look at, made once.

        Raises:
            Impossible: it cannot run here.
        """
        if isinstance(self._base, Impossible):
            raise Impossible(*self._base.args)
        return self._base

    @cached_property
    def _base(self) -> Base | Impossible:
        try:
            return Base.of(self.perform)
        except Impossible as reason:  # kept, too: looking for files a second time may mean a second download
            return reason

    @cached_property
    def again(self) -> Performance:
        """A second run in the same scene: libraries are imported by now, and what changes is the plugin's own doing."""
        return self.perform(self.base.seen().scene)

    @cached_property
    def unsteady(self) -> frozenset[str]:
        """Answers that differ between two runs with one seed: that is one fault, and no other check counts it."""
        from sparring.testing.fingerprints import differing

        return frozenset(differing(self.base.seen().answers, self.again.answers))

    def differing_from_base(self, answers: Answers) -> list[str]:
        """Answers that are not those of the plainest scene; none of a plugin whose answers differ from run to run
        anyway, as others may follow from these."""
        from sparring.testing.fingerprints import differing

        return [] if self.unsteady else differing(self.base.seen().answers, answers)


@dataclass(frozen=True, eq=False)
class Base:
    """How the plugin ran in the plainest scene.

    Attributes:
        performance: what was seen; `None` when it did not run.
        raised: what it raised.
        undeclared: the message with which access was refused that the plugin had not declared. It then ran once more
            with all access, so that the other checks can say something.
    """

    performance: Performance | None
    raised: Exception | None = None
    undeclared: str = ""

    @classmethod
    def of(cls, perform: Callable[[Scene], Performance]) -> Base:
        from sparring.model import NETWORK_OFFERS, NotOffered
        from sparring.testing.performance import PluginRaised

        try:
            return cls(perform(BASE))
        except PluginRaised as refused:
            if not isinstance(refused.error, NotOffered):
                return cls(None, refused)
            try:
                return cls(perform(replace(BASE, access=NETWORK_OFFERS)), None, str(refused.error))
            except PluginRaised as raised:
                return cls(None, raised, str(refused.error))

    def seen(self) -> Performance:
        """The performance; only for plugins that run."""
        assert self.performance is not None, "checks that need a run are blocked without one"
        return self.performance
