"""The errors that a user can cause or must act on; everything else is our bug and keeps its traceback.

Exit codes (docs/../README, stable): 0 met and exact, 1 our bug, 2 the user's input, 3 does not fit,
4 accuracy below the floor, 5 a toolchain, emulator or board failed. When several hold: 1, 2, 5, 3, 4.
"""


class UserError(Exception):
    """The network, data, board or setting is at fault. One line: what, where, numbers, next step."""

    exit_code = 2


class ToolError(UserError):
    """A compiler, emulator, flasher or board failed or is missing."""

    exit_code = 5


class MismatchError(Exception):
    """The generated code disagrees with the golden runtime: always our bug, never a warning."""

    exit_code = 1
