"""The error that is a user's to mend."""


class LemError(ValueError):
    """What a user can mend: the message is one line that says what is wrong, where, and the way out.

    What it quotes of a file may hold line ends: they are shown as Python writes them.
    """

    def __init__(self, message: object = ""):
        super().__init__(str(message).replace("\r", "\\r").replace("\n", "\\n"))
