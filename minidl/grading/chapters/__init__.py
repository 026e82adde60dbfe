"""The exercises, one file a chapter: ch01.py holds 01.1a, 01.1b and so on."""
