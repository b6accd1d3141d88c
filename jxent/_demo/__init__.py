"""The parts of `python -m jxent`: the text, the model, the report."""
