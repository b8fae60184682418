"""Records to training rows: one file per family of formats, each a pure function of one record."""
