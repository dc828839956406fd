"""Data sets: one file each, found by name; `pipeline` says what a data set is, `storage` where it is kept."""
