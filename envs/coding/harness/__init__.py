"""Programs for the tester's side. They are read as text and run there, never imported by the grader."""
