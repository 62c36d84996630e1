"""Text from outside, made fit for a terminal: nothing in it moves a cursor, sets a colour or hides."""


def visible(text: object) -> str:
    """The text with every character that is no printable one written out, `\\x1b` or `\\u202e`."""
    return "".join(c if c.isprintable() else _escaped(ord(c)) for c in str(text))


def _escaped(number: int) -> str:
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )
