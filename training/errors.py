"""What can go wrong offline, as one branch of Bonsai's tree.

BonsaiError
└── TrainingError
    ├── UnknownRecipe   no recipe goes by that name
    ├── DataMissing     a data set is neither on this machine nor to be had
    ├── Interrupted     a signal asked to stop; what was done is kept
    ├── FoldRefused     a BatchNorm stands where it cannot be folded
    ├── ExportRefused   the exported graph is not what the recipe declares
    └── ParityBroken    two forms of one network give different answers
"""

from typing import ClassVar

from app.errors import BonsaiError


class TrainingError(BonsaiError):
    code: ClassVar[str] = "training"


class UnknownRecipe(TrainingError):
    code = "unknown_recipe"


class DataMissing(TrainingError):
    code = "data_missing"


class Interrupted(TrainingError):
    code = "interrupted"


class FoldRefused(TrainingError):
    code = "fold_refused"


class ExportRefused(TrainingError):
    code = "export_refused"


class ParityBroken(TrainingError):
    code = "parity_broken"
