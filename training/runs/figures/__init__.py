"""Show what runs measured: which curves, drawn how, in what runs differ, and whether one is well."""
