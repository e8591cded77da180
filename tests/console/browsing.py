"""What a person can read on a page in a real browser."""


def contrast(locator):
    """WCAG's ratio between the text and what it stands on."""
    colours = locator.evaluate(
        """element => {
            const seen = (node) => {
                const colour = getComputedStyle(node).backgroundColor;
                return colour !== "rgba(0, 0, 0, 0)" || !node.parentElement ? colour : seen(node.parentElement);
            };
            return [getComputedStyle(element).color, seen(element)];
        }"""
    )
    one, two = sorted((_luminance(c) for c in colours), reverse=True)
    return (one + 0.05) / (two + 0.05)


def _luminance(colour):
    parts = [float(n) / 255 for n in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
