"""How names become objects, how settings are checked, and how contracts are stated. The lowest room."""
