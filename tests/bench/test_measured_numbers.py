"""Numbers as they are written into records."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from sparring.cli.run import command
from sparring.journal import open_results
from sparring.record import Scored


def test_metrics_are_written_with_nine_significant_digits(tmp_path: Path) -> None:
    """0.01388888888888895 is the arithmetic's, 0.0138888889 the measurement's."""
    product = ["--dataset", "digits[limit_test=90]", "--victim", "logistic", "--attack", "fgsm[eps=0.1]"]
    where = ["--repetitions", "1", "--engine", "serial", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path)]
    done = CliRunner().invoke(command, [*product, "--defence", "none", *where])
    assert done.exit_code == 0, done.output
    with open_results(tmp_path) as results:
        outcomes = [record.outcome for record in results.by_cell.values()]
    values = [value for found in outcomes if isinstance(found, Scored) for value in found.metrics.values()]
    assert any(len(f"{value:.9g}") > 8 for value in values)
    assert all(value == float(f"{value:.9g}") for value in values)
