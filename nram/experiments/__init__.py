"""Runs, searches, studies and comparisons: what is measured, and where it runs."""
