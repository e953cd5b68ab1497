"""`ipad-jax reproduce`: Tables 2, 3 and 4 of the paper, run cell by cell and printed beside its numbers.

    ipad-jax reproduce --table 2 --list                     what would run, how many trainings, how long
    ipad-jax reproduce --table 2                            runs what is not there yet, then prints
    ipad-jax reproduce --table 2 --index 3 --of 16          one machine's share
    ipad-jax reproduce --table 2 --show                     prints and writes what is there

What is complete is skipped, so the same command resumes. Shares need no word between machines: each takes
whole groups of trainings that start from one another, on a shared folder or in folders of their own, which
merge by copying. Files: methods.py says which rows there are, plan.py what a table is, cells.py runs it,
collect.py averages, ipad_jax/report/table.py prints.
"""

from ipad_jax.reproduce.command import main

__all__ = ["main"]
