"""What can go wrong offline, as one branch of Bonsai's tree.

BonsaiError
└── TrainingError
    ├── UnknownRecipe         no recipe goes by that name
    ├── UnknownPreset         no quantisation preset goes by that name
    ├── SubjectRefused        what was given to be compiled is no network that can be
    ├── DataMissing           a data set is neither on this machine nor to be had
    ├── DataBroken            a data set's file is not what its reader expects
    ├── DeviceMissing         the device, or the precision, that was asked for is not on this machine
    ├── Interrupted           a signal asked to stop; what was done is kept
    ├── RemovalRefused        units that cannot be removed, or a net that does not run without them
    ├── PruneRefused          a net cannot be cut to the cost asked for
    ├── ExportRefused         the exported graph is not what the recipe declares
    ├── GraphRefused          an .onnx file is not a plain, whole graph
    ├── QuantisationRefused   a graph cannot be quantised, or not so that it still answers well enough
    ├── ParityBroken          two forms of one network give different answers
    ├── NoCandidate           no form of the network meets the terms
    └── RebuildDiffers        what comes out of a version's checkpoint is not the graph that was published
"""

from typing import ClassVar

from app.errors import BonsaiError


class TrainingError(BonsaiError):
    code: ClassVar[str] = "training"


class UnknownRecipe(TrainingError):
    code = "unknown_recipe"


class UnknownPreset(TrainingError):
    code = "unknown_preset"


class SubjectRefused(TrainingError):
    code = "subject_refused"


class DataMissing(TrainingError):
    code = "data_missing"


class DataBroken(TrainingError):
    code = "data_broken"


class DeviceMissing(TrainingError):
    code = "device_missing"


class Interrupted(TrainingError):
    code = "interrupted"


class RemovalRefused(TrainingError):
    code = "removal_refused"


class PruneRefused(TrainingError):
    code = "prune_refused"


class ExportRefused(TrainingError):
    code = "export_refused"


class GraphRefused(TrainingError):
    code = "graph_refused"


class QuantisationRefused(TrainingError):
    code = "quantisation_refused"


class ParityBroken(TrainingError):
    code = "parity_broken"


class NoCandidate(TrainingError):
    code = "no_candidate"


class RebuildDiffers(TrainingError):
    code = "rebuild_differs"
