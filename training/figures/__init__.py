"""What runs measured, as pages show it: which curves, drawn how, runs beside each other, and whether one is well."""
