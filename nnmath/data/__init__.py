r"""Data sets and batches.

- dataset: features, target and their names.
- datasets: real and synthetic data sets by name, or a CSV file by path.
- csv_files: reading a CSV file, with every problem reported by line and column.
- batches: the order of rows in training.
- datamodule: split, standardisation and the LightningDataModule.
- options: command-line options for the data and the network.
"""
