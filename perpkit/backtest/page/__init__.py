"""Style and script that are written into every report."""
