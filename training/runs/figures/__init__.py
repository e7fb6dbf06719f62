"""What runs measured, as pages show it: which curves, drawn how, in what runs differ, and whether one is well."""
