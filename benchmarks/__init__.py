"""What is measured, as commands that print a table and write JSON; `RESULTS.md` has what they gave."""
