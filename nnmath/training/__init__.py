r"""Training one network on a data set, with its run in a folder: :mod:`nnmath.training.run` starts and resumes it.

- :mod:`~nnmath.training.options`: the options of the command line, config.yaml and ``--resume``;
- :mod:`~nnmath.training.run`: a run from its options to the results of its test;
- :mod:`~nnmath.training.module`: the LightningModule: loss, optimizer, schedule, metrics;
- :mod:`~nnmath.training.checkpoint`: checkpoints are written atomically, and validated before a run is resumed;
- :mod:`~nnmath.training.checkpoint_file`: the content of a checkpoint, as untrusted input;
- :mod:`~nnmath.training.callbacks`: when a checkpoint is written, how a run is stopped, the progress bar;
- :mod:`~nnmath.training.metrics`: R², accuracy, AUROC, F1;
- :mod:`~nnmath.training.predictor`: the trained network, from raw features to predictions, and as a program;
- :mod:`~nnmath.training.tensorboard`: what TensorBoard shows of a run.

A run that was stopped or killed at any moment is resumed in its own folder, which may have been moved. It ends with the
same numbers as without the interruption, to the last bit: weights, momentum, schedule, best checkpoint and curves.

Several devices or machines share each batch, however many rows it has, and no row is counted twice: after 200 epochs in
float64 the weights equal those of one process to 1e-15. On several machines, the same command with ``--num_nodes`` is
started on each of them, with MASTER_ADDR, MASTER_PORT and NODE_RANK in the environment (see Lightning's documentation)
and the same folders. With ``--accelerator gpu`` the rows lie on the GPU as well.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnmath.training.predictor import Predictor


def load(run: Any) -> "Predictor":
    r"""Load the trained network of a run, to predict; see :func:`nnmath.training.predictor.load`."""
    from nnmath.training.predictor import load  # torch is not imported before

    return load(run)
