"""The model repository: which versions there are, and the loaded ones."""
