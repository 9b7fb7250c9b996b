"""The parts of the fit: what each reads from the recordings and how it turns that into parameters. Not used at run time."""
