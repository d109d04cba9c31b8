"""Sparring: every attack against every defence, on every victim and data set, ending in a leaderboard."""

__version__ = "0.1.0"
