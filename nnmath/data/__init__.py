r"""Data sets and batches.

- dataset: features, target and their names.
- datasets: real and synthetic data sets by name, or a CSV file by path.
- csv_files: the cells of a CSV file, with every problem reported by line and column.
- columns: what the cells of a column mean.
- tables: a data set from a CSV file.
- preprocessing: missing values, categories, standardisation, and back.
- batches: the order of rows in training.
- datamodule: the split and the LightningDataModule.
- options: command-line options for the data and the network.
"""
