"""Weaken each memory order and remove each check of the C layer, and show which proof notices.

    tools/weaken.py [--list | --check | --quick] [--workers N] [NAME_PART ...]

A mutant is one change to a private copy of the tree. It is run against the tests that know its
file, until one fails, crashes or hangs; where no test on this machine can notice (x86 does not
reorder like that), the spin model with the same rule taken away must. A mutant that nothing
notices makes this exit with 1, unless ``native/models/mutants.toml`` says why it changes nothing.

``--check`` runs nothing: every row of the table must still fit the code, and name an unsound
variant that exists. ``--quick`` runs the few mutants that ``make test`` runs. The whole takes
minutes; it writes build/weaken.tsv. docs/proofs.md explains the table.
"""

import argparse
import csv
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import check_models
from mutant_build import FOR_FILE, OTHERS, PARITY, Build, Tree
from mutants import ROOT, Mutant, all_mutants


@lru_cache
def model_notices(name: str) -> bool:
    """Search the unsound variant ``model/variant``; True when it has an error trail."""
    return check_models.search(unsound(name)).as_expected


def unsound(name: str) -> check_models.Variant:
    """Return the variant of this name; ValueError when there is none, or it is a sound one."""
    for variant in check_models.variants():
        if f"{variant.model}/{variant.name}" == name and not variant.sound:
            return variant
    raise ValueError(f"mutants.toml: variants.tsv has no unsound variant {name!r}")


def faults(mutants: list[Mutant]) -> list[str]:
    """Say what is wrong with the table without running anything."""
    found = []
    for mutant in mutants:
        if mutant.model and mutant.equivalent:
            found.append(f"{mutant.name}: either a model notices it or nothing can, not both")
        if mutant.model:
            try:
                unsound(mutant.model)
            except ValueError as error:
                found.append(f"{mutant.name}: {error}")
    names = [mutant.name for mutant in mutants]
    found += [f"two mutants are called {name!r}" for name in set(names) if names.count(name) > 1]
    return found


def catchers_of(mutant: Mutant) -> list[str]:
    """Name what is run against a mutant; a quick one is caught without the slow parity tests."""
    names = FOR_FILE.get(mutant.file, OTHERS)
    return [name for name in names if name != PARITY or not mutant.quick]


def judge(tree: Tree, mutant: Mutant) -> tuple[str, str]:
    """Return the verdict (caught, model, equivalent, MISSED, WRONG) and what noticed."""
    source = (tree.native / "src" / mutant.file).read_text()
    with tempfile.TemporaryDirectory(dir=tree.folder) as folder:
        build = Build(tree, Path(folder), mutant.file, mutant.apply(source))
        for name in catchers_of(mutant):
            how = build.caught_by(name)
            if how and mutant.equivalent:
                return "WRONG", f"is said to change nothing, yet {name} {how}"
            if how:
                shown = f"{name} {how}"
                return "caught", shown + (f"; model {mutant.model}" if mutant.model else "")
    if mutant.model:
        found = model_notices(mutant.model)
        return ("model" if found else "MISSED"), f"model {mutant.model}"
    if mutant.equivalent:
        return "equivalent", mutant.equivalent
    return "MISSED", "by everything"


def sound_catchers(tree: Tree, mutants: list[Mutant]) -> list[str]:
    """Run each catcher on the code as written; return the names of those that fail there."""
    names = dict.fromkeys(name for mutant in mutants for name in catchers_of(mutant))
    with tempfile.TemporaryDirectory(dir=tree.folder) as folder:
        build = Build(tree, Path(folder))
        return [f"{name} {how}" for name in names if (how := build.caught_by(name))]


def report(rows: list[tuple[str, str, str]]) -> int:
    """Write the table and the closing line; return the exit code."""
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / "weaken.tsv").open("w", newline="") as out:
        writer = csv.writer(out, delimiter="\t", lineterminator="\n")
        writer.writerow(("verdict", "mutant", "noticed by, or why not"))
        writer.writerows(rows)
    verdicts = [verdict for verdict, _, _ in rows]
    bad = verdicts.count("MISSED") + verdicts.count("WRONG")
    print(
        f"{len(rows)} mutants: {verdicts.count('caught')} caught by tests, "
        f"{verdicts.count('model')} by models alone, {verdicts.count('equivalent')} equivalent, "
        f"{bad} failed"
    )
    return 1 if bad else 0


def main(arguments: list[str]) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--list", action="store_true", help="name the mutants")
    parser.add_argument("--check", action="store_true", help="check the table, run nothing")
    parser.add_argument("--quick", action="store_true", help="the few that `make test` runs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("parts", nargs="*", help="only mutants whose name holds one of these")
    options = parser.parse_args(arguments)
    try:
        every = all_mutants()
    except ValueError as error:
        print(f"weaken: {error}")
        return 1
    wrong = faults(every)
    for fault in wrong:
        print(f"weaken: {fault}")
    if wrong or options.check:
        print(f"{len(every)} mutants, {len(wrong)} faults in the table")
        return 1 if wrong else 0
    mutants = [
        mutant
        for mutant in every
        if (mutant.quick or not options.quick)
        and (not options.parts or any(part in mutant.name for part in options.parts))
    ]
    if options.list or not mutants:
        print(*(mutant.name for mutant in mutants), sep="\n")
        return 0 if mutants else 1
    with tempfile.TemporaryDirectory(prefix="tandem-weaken-") as folder:
        tree = Tree(Path(folder))
        if bad := sound_catchers(tree, mutants):
            print(f"weaken: fails on the code as written: {', '.join(bad)}")
            return 1
        rows = []
        with ThreadPoolExecutor(options.workers) as pool:
            found = pool.map(lambda mutant: judge(tree, mutant), mutants)
            for mutant, (verdict, why) in zip(mutants, found, strict=True):
                print(f"{verdict:10} {mutant.name}: {why}", flush=True)
                rows.append((verdict, mutant.name, why))
    return report(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
