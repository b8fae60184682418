"""Reward models of the field: published ones with the layout of their model card, served ones, and judges."""
