"""From records alone to tables, and from tables to Markdown, CSV, one HTML page, and the terminal."""
