"""The `perpkit` command. `main` holds the table of commands; each command is a module of its own, imported when it is called."""
