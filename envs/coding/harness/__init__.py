"""Modules for the tester's side: sent there as text and executed under these names, never run by the grader itself."""
