"""The steps that make a trained net smaller or faster and keep its answers."""
