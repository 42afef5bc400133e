"""Elements of HTML and SVG; text and attributes are escaped here and nowhere else."""

from markupsafe import Markup, escape


def element(name: str, *content: str, **attributes: object) -> Markup:
    """One element around text, which is escaped, and elements.

    Of the attributes, `class_` is written as class, and other underscores as hyphens; floats get one decimal. None and
    False leave an attribute out, True stands for one without a value.
    """
    opening = Markup("<{}").format(name)
    for key, value in attributes.items():
        written = f"{value:.1f}" if isinstance(value, float) else value
        if value is True:
            opening += Markup(" {}").format(key)
        elif value is not None and value is not False:
            opening += Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), written)
    return opening + Markup(">") + Markup("").join(map(escape, content)) + Markup("</{}>").format(name)
