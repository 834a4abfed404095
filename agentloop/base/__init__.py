"""Ground floor: the nouns every room speaks in, the store that remembers them, the errors."""
