"""What a model folder is and how a model is run: the contract between training and serving."""
