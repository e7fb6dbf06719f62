"""Hold what the site and the recipes share: the run directory, the kinds of run, how an attempt ends. Pure Python."""
