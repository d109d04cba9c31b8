"""Live progress of a run: cells done, cached, failed, not applicable; stages running; time left."""

from __future__ import annotations

import time
from collections import defaultdict
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sparring.plan import estimate_seconds
from sparring.stage import Done, Sort, StageEvent, sort_of

if TYPE_CHECKING:
    from sparring.journal import Results
    from sparring.run import Run, Tally

LINE_EVERY = 10.0
"""Seconds between lines where the output is no terminal."""


class TimeLeft:
    """Work done against work to do, in expected seconds of stages.

    What a stage is expected to take comes from earlier records, and, as the run goes on, from stages of the same name
    by the same plugin that have ended.
    """

    def __init__(self, run: Run, results: Results) -> None:
        self._stages = dict(run.plan.stages_of(run.todo.to_run))
        self._seen: dict[Sort, list[float]] = defaultdict(list)
        self._default = 0.5
        total, unknown = estimate_seconds(run.plan, self._stages, results)
        if len(self._stages) > unknown:
            self._default = total / (len(self._stages) - unknown)
        self._started = time.monotonic()
        self._worked = 0.0

    def ended(self, key: str, seconds: float, cached: bool) -> None:
        stage = self._stages.pop(key, None)
        if stage is not None and not cached:
            self._seen[sort_of(stage)].append(seconds)
            self._worked += seconds

    def seconds(self) -> float | None:
        """Wall seconds left, judged by how fast expected work has gone so far; `None` as long as nothing is known."""
        elapsed = time.monotonic() - self._started
        if not self._worked or elapsed < 1:
            return None
        remaining = 0.0
        for stage in self._stages.values():
            seen = self._seen.get(sort_of(stage))
            remaining += sum(seen) / len(seen) if seen else self._default
        return remaining * elapsed / self._worked


class Progress:
    """Shows a run on the terminal, or as a line now and then where there is none."""

    def __init__(self, run: Run, results: Results) -> None:
        self._total = len(run.todo.to_run) + len(run.todo.recorded) + len(run.todo.not_applicable)
        self._recorded = len(run.todo.recorded)
        self._never = len(run.todo.not_applicable)
        self._left = TimeLeft(run, results)
        self._running: dict[str, str] = {}
        self._console = Console(stderr=True)
        self._tally: Tally | None = None
        self._started = self._last_line = time.monotonic()
        self._live = Live(console=self._console, refresh_per_second=8, transient=True, get_renderable=self._shown)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def on_event(self, event: StageEvent, tally: Tally) -> None:
        self._tally = tally
        if event.outcome is None:
            self._running[event.key] = event.label
        else:
            self._running.pop(event.key, None)
            if isinstance(event.outcome, Done):
                self._left.ended(event.key, event.outcome.seconds, event.outcome.cached)
        if not self._console.is_terminal and time.monotonic() - self._last_line > LINE_EVERY:
            self._last_line = time.monotonic()
            self._console.print(f"{self._clock()} · {self._counts()}", highlight=False, soft_wrap=True)

    def summary(self, tally: Tally, seconds: float) -> str:
        """What the run did, in one line."""
        return (
            f"{tally.scored} cells scored, {tally.cached} cached, {tally.failed} failed,"
            f" {tally.not_applicable} not applicable; {tally.stages_run} stages run, {tally.stages_cached} from the"
            f" store, in {_duration(seconds)}"
        )

    @property
    def _done(self) -> int:
        finished = self._tally.scored + self._tally.failed if self._tally else 0
        return finished + self._recorded + self._never

    def _clock(self) -> str:
        left = self._left.seconds()
        rest = f"about {_duration(left)} left" if left is not None else "time left unknown"
        return f"{self._done}/{self._total} cells · {_duration(time.monotonic() - self._started)} gone · {rest}"

    def _counts(self) -> str:
        scored, failed = (self._tally.scored, self._tally.failed) if self._tally else (0, 0)
        return f"{scored} done · {self._recorded} cached · {failed} failed · {self._never} not applicable"

    def _shown(self) -> Group:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=max(1, self._total), completed=self._done, width=24), Text(self._clock()))
        running = [Text(f"  ▸ {label}", style="dim", no_wrap=True) for label in list(self._running.values())[:8]]
        return Group(bar, Text(self._counts()), *running)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
