"""The nouns of self-play: what a run folder holds and what exports are made of.

Only the standard library (and the rooms below) is imported. The record of one episode is
`stepgym.agents.types.EpisodeRecord`, because `stepgym.agents.solve` makes it.
"""
