"""LLaMA-Factory's registry of data sets, `dataset_info.json`: its entries, and rows as these describe them."""
