"""Tasks over a folder: the policy changes files by tool calls, and hidden tests run on the folder it leaves."""
