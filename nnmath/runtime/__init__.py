r"""What the scripts share: command lines, run folders and files, processes, progress bars.

- :mod:`~nnmath.runtime.cli`: options, one-line errors and exit codes;
- :mod:`~nnmath.runtime.errors`: the exceptions that end a command;
- :mod:`~nnmath.runtime.files`: run folders and atomic writes;
- :mod:`~nnmath.runtime.hparams`: the columns of TensorBoard's HParams tab;
- :mod:`~nnmath.runtime.distributed`: processes started by torchrun;
- :mod:`~nnmath.runtime.progress`: a progress bar over epochs.
"""
