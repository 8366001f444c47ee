"""The pages hold: links lead somewhere, examples run, tables say what the code says, named tests exist."""
