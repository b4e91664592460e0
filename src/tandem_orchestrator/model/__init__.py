"""What is asked, and what can be said about it: values only.

This room knows the words: command sets, modes, references, outcomes, events, plans. It never knows
who runs anything, when, or where it is kept, and reads neither clock nor disk, except for the file
of a command set. It hands on its modules; each carries the name of its one noun.
"""
