"""The strategies that ship with the library."""
