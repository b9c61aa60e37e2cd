"""The drawing of what bench/tcp/run.py measured: SVG by hand, readable on a light page and on a dark one."""
import math

WIDTH, HEIGHT = 960, 400
TOP, BOTTOM = 54, 288  # of both diagrams
STYLE = """
text { font: 12px sans-serif; fill: #24292f } .title { font-weight: bold; font-size: 14px } .small { font-size: 10px } .end { text-anchor: end } .middle { text-anchor: middle }
.axis { stroke: #57606a } .grid { stroke: #d0d7de } .most { stroke: #24292f; stroke-width: 1.5 }
.c0 { fill: #0b5cad } .c1 { fill: #5aa2e0 } .c2 { fill: #b45309 } .c3 { fill: #eda145 }
@media (prefers-color-scheme: dark) {
 text { fill: #e6edf3 } .axis { stroke: #8b949e } .grid { stroke: #30363d } .most { stroke: #e6edf3 }
 .c0 { fill: #388bfd } .c1 { fill: #9ccbff } .c2 { fill: #d9822b } .c3 { fill: #f7c67f }
}"""


def text(x, y, words, style=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{words}</text>'


def line(x1, y1, x2, y2, style):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


class Diagram:
    """Groups of bars, a group for each rate of loss; `height` is where a value is between 0, the bottom, and 1."""

    def __init__(self, left, right, title, unit, ticks, height):
        self.left, self.right, self.height = left, right, height
        self.parts = [text(left - 40, 22, title, "title"), text(left - 40, 40, unit, "small")]
        for tick in ticks:
            self.parts += [line(left, self.y(tick), right, self.y(tick), "grid"), text(left - 6, self.y(tick) + 4, f"{tick:g}", "end")]
        self.parts.append(line(left, BOTTOM, right, BOTTOM, "axis"))

    def y(self, value):
        return BOTTOM - (BOTTOM - TOP) * min(1, max(0, self.height(value)))

    def draw(self, losses, rows, colours):
        """rows: name, and for each loss the bar's value and the one that a whisker shows, or none."""
        group = (self.right - self.left) / len(losses)
        width = 0.8 * group / len(rows)
        for i, loss in enumerate(losses):
            start = self.left + i * group + 0.1 * group
            self.parts.append(text(start + 0.4 * group, BOTTOM + 18, f"{loss} % lost", "middle"))
            for j, (_, values) in enumerate(rows):
                value, most = values[i]
                x, y = start + j * width, self.y(value)
                self.parts.append(f'<rect x="{x + 1:.1f}" y="{y:.1f}" width="{width - 2:.1f}" height="{BOTTOM - y:.1f}" class="c{colours[j]}"/>')
                if most is None:
                    self.parts.append(text(x + width / 2, y - 4, f"{value:.1f}" if value < 10 else f"{value:.0f}", "small middle"))
                else:
                    middle = x + width / 2
                    self.parts += [line(middle, y, middle, self.y(most), "most"), line(middle - 5, self.y(most), middle + 5, self.y(most), "most"),
                                   text(middle, self.y(most) - 4, f"{most:.0f}", "small middle")]
        for j, (name, _) in enumerate(rows):
            y = BOTTOM + 42 + 17 * j
            self.parts += [f'<rect x="{self.left}" y="{y - 10}" width="12" height="12" class="c{colours[j]}"/>', text(self.left + 18, y, name)]


def draw(results, options):
    losses = list(results)

    def rows(kind, values_of):
        return [(name.split(": ", 1)[1], [values_of(results[loss][name]) for loss in losses]) for name in results[losses[0]] if name.startswith(kind + ": ")]

    files = rows("file", lambda each: (options.size * 8 / each["p50"], None))
    requests = rows("request", lambda each: (1e3 * each["p50"], 1e3 * each["p99"]))
    fastest = 20 * math.ceil(max(value for _, values in files for value, _ in values) / 20)
    left = Diagram(56, 450, f"A file of {options.size} MB", "Mbit/s, median; more is better", range(0, fastest + 1, 20), lambda value: value / fastest)
    left.draw(losses, files, [0 if "CUBIC" in name else 1 if "TCP" in name else 2 for name, _ in files])
    decades = math.ceil(math.log10(max(most for _, values in requests for _, most in values) / 10))
    right = Diagram(546, 940, "A request of 1 KB and its answer", "ms (logarithmic): the bar is the median, the whisker the 99th percentile; less is better",
                    [10 * 10**n for n in range(decades + 1)], lambda value: math.log10(value / 10) / decades)
    right.draw(losses, requests, [0, 1, 2, 3])
    note = f"{options.rate.replace('mbit', ' Mbit/s')} and {options.delay.replace('ms', ' ms')} in each direction, and as many packets lost in each; the kernel's TCP."
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="TCP and UDP over the same wire">\n<style>{STYLE}\n</style>\n'
            + "\n".join([*left.parts, *right.parts, text(16, HEIGHT - 8, note, "small")]) + "\n</svg>\n")
