"""`python -m agentloop` and the command `agentloop`."""


def main() -> None:
    """Run the command line."""
    from agentloop.ui.cli import app

    app(prog_name="agentloop")


if __name__ == "__main__":
    main()
