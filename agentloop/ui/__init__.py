"""Windows: the command line and the demo. They parse, call and show; they decide nothing."""
