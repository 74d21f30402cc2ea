"""What the refusal of a file looks like, whatever is in it."""


def assert_one_line_about(path, error):
    """It begins with the file, and is one line that can be read."""
    message = str(error)
    assert message.startswith(str(path)), message
    assert len(message.splitlines()) == 1, message
    assert len(message) < 500, message
