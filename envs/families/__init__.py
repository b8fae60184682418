"""Procedural problem families, one file each: item `i` is a pure function of `(seed, level, i)`.

A family has levels 1 to 10, a reference that is right by construction, and a worked solution in steps. There are two
shapes: free text with a mathematical answer (`text.py`), and games whose steps are moves (`game.py`).
"""
