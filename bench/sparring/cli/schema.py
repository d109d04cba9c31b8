"""`sparring schema`: JSON Schemas, for editors and for readers of results."""

from __future__ import annotations

import json

import click


@click.command("schema")
@click.argument("what", type=click.Choice(["suite", "record"]))
def command(what: str) -> None:
    """Print the JSON Schema of a suite file or of one line of results."""
    if what == "suite":
        from sparring.suite_file import suite_schema

        schema = suite_schema()
    else:
        from sparring.record import Record

        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Record.model_json_schema()}
    click.echo(json.dumps(schema, indent=2, ensure_ascii=False))
