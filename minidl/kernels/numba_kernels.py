"""Whole ops as compiled loops."""
TABLE = {"none": None}
