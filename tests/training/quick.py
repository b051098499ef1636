"""`bonsai-train` with a digits recipe that is through in seconds: python -m tests.training.quick run digits."""

from dataclasses import replace

from training import cli
from training.plan import Plan
from training.recipes import digits
from training.recipes.digits import DIGITS
from training.recipes.recipe import Recipe

PLAN = Plan(levels=(2.0,), cost="macs", grid=8, recovery_epochs=1, presets=("portable", "vnni"), race_seconds=0.2)
QUICK: Recipe = replace(DIGITS, epochs=2, folds=2, repeats=1, plan=PLAN)
"""The digits recipe, learning for as long as a test may take; its cuts do not depend on the machine."""


if __name__ == "__main__":
    digits.DIGITS = QUICK
    cli.main()
