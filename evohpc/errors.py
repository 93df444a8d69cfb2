"""Every exception that evohpc raises on purpose.

A candidate that fails is never an exception: it is a `Result` with a `Status`. An exception means that the
configuration, the site or evohpc itself is at fault, and its text is one readable sentence for the user:
the file, the wrong value, the right values, the next step.

    EvohpcError
    ├── ConfigError        a key or value of a config, a site profile or --set
    ├── TaskError          a task that cannot be loaded or does not satisfy the Task protocol
    ├── LMError            a language model folder or an LM job
    ├── EvaluationError    this host cannot evaluate candidates as the config demands
    ├── RunFolderError     a run folder that is missing, damaged or belongs to another search
    │   └── LeaseError     a run folder that another driver holds
    ├── EnvelopeError      a file that is torn, foreign or altered
    └── StorageError       the file system refused a write
"""


class EvohpcError(Exception):
    """Base of every error a user can cause or mend."""


class ConfigError(EvohpcError):
    """A key or value of a config, a site profile or --set is wrong."""


class TaskError(EvohpcError):
    """A task cannot be loaded, or does not satisfy the Task protocol."""


class LMError(EvohpcError):
    """The language model folder cannot be used, or the LM job failed."""


class EvaluationError(EvohpcError):
    """This host cannot evaluate candidates as the config demands."""


class RunFolderError(EvohpcError):
    """The run folder is missing, damaged or belongs to another search."""


class LeaseError(RunFolderError):
    """Another driver holds the run folder."""


class EnvelopeError(EvohpcError):
    """A file is torn, foreign or altered, and is not used."""


class StorageError(EvohpcError):
    """The file system refused a write: full, over quota or read-only."""
