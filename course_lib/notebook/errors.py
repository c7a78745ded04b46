"""What a notebook says when a cell is stopped, or needs a name that a cell above it makes.

`start` calls this. `make setup` also copies the file to where IPython looks for start-up files, because a reader may
run a cell in the middle before the first one. So it imports nothing.
"""


def explain_errors(shell) -> None:
    """Explain a NameError, and end an interrupted cell with one line.

    shell: what `get_ipython()` returns; None outside of a notebook, where nothing changes.
    """

    def explain(shell, kind, error, traceback, tb_offset=None):
        if issubclass(kind, KeyboardInterrupt):
            shell._showtraceback(kind, error, ["Stopped. Run the cell again to go on."])
            return
        shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
        if kind is NameError:  # not an UnboundLocalError
            print(
                f"Does a cell above define `{error.name}`? Then run the cells above first: "
                "Run → Run All Above Selected Cell. Afterwards run this one again."
            )

    if shell is not None:
        shell.set_custom_exc((NameError, KeyboardInterrupt), explain)


if __name__ == "__main__":  # as a start-up file
    explain_errors(get_ipython())  # noqa: F821
    del explain_errors
