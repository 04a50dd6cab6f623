#!/usr/bin/env python3
"""Makes the golden cases: ten training steps of small networks in PyTorch, in double precision.

usage: make.py [AREA…]     all files of `cases/`, or those named: `make.py losses optimizers`

Needs torch 2.15, numpy and safetensors, and cargo, for `gradc fmt`. A file of `cases/` is a list CASES, its rows as `twins.py` tells; a case changes
only the two files of its name, so making one area leaves the others alone.
"""
import importlib
import os
import pathlib
import subprocess
import sys

import torch

import twins


def main():
    os.chdir(pathlib.Path(__file__).parent)
    known = sorted(path.stem for path in pathlib.Path("cases").glob("*.py"))
    if unknown := [area for area in sys.argv[1:] if area not in known]:
        sys.exit(f"no area {', '.join(unknown)}; there are {', '.join(known)}")
    # All names are read, so that no two cases have the same.
    owners = {}
    for area in known:
        for case in importlib.import_module(f"cases.{area}").CASES:
            if other := owners.get(case.name):
                sys.exit(f"the case {case.name} stands in {other} and in {area}")
            owners[case.name] = area
            if not sys.argv[1:] or area in sys.argv[1:]:
                twins.write(case)
    made = [name for name, area in owners.items() if not sys.argv[1:] or area in sys.argv[1:]]
    models = [f"{name}.model" for name in made]
    subprocess.run(["cargo", "run", "-q", "--bin", "gradc", "--", "fmt", *models], check=True)
    print(len(made), "cases with torch", torch.__version__)
    if not sys.argv[1:]:
        stale = {path.stem for path in pathlib.Path(".").glob("*.model")} - owners.keys()
        for name in sorted(stale):
            print("no case makes", name)


if __name__ == "__main__":
    main()
