"""The error that is a user's to mend."""


class LemError(ValueError):
    """What a user can mend: the message is one line that says what is wrong, where, and the way out."""
