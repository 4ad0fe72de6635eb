"""Looking at a page in a real browser: pictures, what is wider than the screen, pale letters."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# The page itself runs no script, so a page around it measures: what sticks out of the width, and
# the lowest contrast of letters to what is behind them (WCAG 2, relative luminance).
_AROUND = """<!doctype html><meta charset="utf-8">
<iframe id="page" src="PAGE" style="border:0;width:WIDTHpx;height:900px"></iframe>
<pre id="told"></pre>
<script>
const rgb = (() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  return text => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
})();
const light = c => {
  const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(
    v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
document.getElementById("page").onload = event => {
  const page = event.target.contentDocument, view = event.target.contentWindow;
  let worst = 99, where = "", letters = 0;
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const unseen = ["TITLE", "STYLE"].includes(element.tagName.toUpperCase());
    if (unseen || !walker.currentNode.data.trim()) continue;
    if (!element.getClientRects().length) continue;
    letters += 1;
    const style = view.getComputedStyle(element);
    const svg = element.closest("svg") !== null;
    const ink = rgb(svg ? style.fill : style.color);
    let behind = [255, 255, 255, 255];
    for (let at = element; at; at = at.parentElement) {
      const found = rgb(view.getComputedStyle(at).backgroundColor);
      if (found[3] === 255) { behind = found; break; }
    }
    const [a, b] = [light(ink), light(behind)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < worst) { worst = contrast; where = walker.currentNode.data.trim().slice(0, 60); }
  }
  document.getElementById("told").textContent = JSON.stringify({
    width: page.documentElement.scrollWidth, contrast: worst, where, letters,
    dark: view.matchMedia("(prefers-color-scheme: dark)").matches});
};
</script>
"""


@dataclass(frozen=True)
class Look:
    """What a browser found.

    Attributes:
        width: Of all that the page draws, in CSS pixels.
        contrast: The lowest of any letters.
        where: Those letters.
        letters: Pieces of text that were looked at.
        dark: Whether the page was asked to be dark.
    """

    width: int
    contrast: float
    where: str
    letters: int
    dark: bool


def _chromium(program: str, folder: Path, *words: str, dark: bool) -> str:
    done = subprocess.run(
        [
            *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}"),
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            *words,
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def look(program: str, page: Path, width: int, *, dark: bool = False) -> Look:
    """Measure a page at a width."""
    around = page.with_name(f"around-{width}.html")
    around.write_text(_AROUND.replace("PAGE", page.name).replace("WIDTH", str(width)))
    words = ("--virtual-time-budget=4000", "--dump-dom", around.as_uri())
    dom = _chromium(program, page.parent, *words, dark=dark)
    told = re.search(r'<pre id="told">(.+?)</pre>', dom)
    assert told, dom[-500:]
    return Look(
        **json.loads(told[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    )


def picture(program: str, page: Path, width: int, path: Path, *, dark: bool = False) -> None:
    """What a person sees, as PNG: the page in a frame of that width, as no window is so narrow."""
    frame = page.with_name(f"frame-{width}.html")
    frame.write_text(
        f'<!doctype html><body style="margin:0"><iframe src="{page.name}" '
        f'style="border:0;width:{width}px;height:3000px"></iframe>'
    )
    size = f"--window-size={max(width, 500)},3000"
    _chromium(program, page.parent, size, f"--screenshot={path}", frame.as_uri(), dark=dark)
