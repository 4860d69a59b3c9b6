"""What a browser tells of a page: contrast, names, headings, widths, requests.

Scripts run in Playwright's own world, which the page's policy does not forbid.
"""

from __future__ import annotations

from typing import Any

CONTRASTS = r"""
() => {
  const rgb = text => {
    const parts = text.match(/[\d.]+/g).map(Number);
    return {r: parts[0], g: parts[1], b: parts[2], a: parts.length > 3 ? parts[3] : 1};
  };
  const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = c => 0.2126 * linear(c.r) + 0.7152 * linear(c.g) + 0.0722 * linear(c.b);
  const ground = element => {
    for (let each = element; each; each = each.parentElement) {
      const colour = rgb(getComputedStyle(each).backgroundColor);
      if (colour.a > 0) return colour;
    }
    return {r: 255, g: 255, b: 255, a: 1};
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest('title')) continue;
    const style = getComputedStyle(element);
    const inDrawing = element.namespaceURI.endsWith('svg');
    const ink = rgb(inDrawing ? style.fill : style.color);
    const [a, b] = [luminance(ink), luminance(ground(element))].sort((x, y) => y - x);
    found.push({text: node.data.trim().slice(0, 40), ratio: (a + 0.05) / (b + 0.05)});
  }
  for (const element of document.querySelectorAll('svg rect, svg circle')) {
    const ink = rgb(getComputedStyle(element).fill);
    const [a, b] = [luminance(ink), luminance(ground(element))].sort((x, y) => y - x);
    found.push({mark: element.getAttribute('class'), ratio: (a + 0.05) / (b + 0.05)});
  }
  return found;
}
"""
"""Contrast of each text, and of each mark of a drawing, with what is behind it (WCAG 2.2)."""

FOCUS = """
() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  return {
    tag: element.tagName,
    name: element.getAttribute('aria-label') || element.textContent.trim().slice(0, 60),
    top: box.top + scrollY,
    outline: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth),
    seen: box.right > 0 && box.left < innerWidth && box.width > 0,
  };
}
"""
"""Element that has the focus: its name, its place, and how wide its outline is."""

WIDE = """
() => [...document.querySelectorAll('body *')]
  .filter(each => each.getBoundingClientRect().right > innerWidth + 0.5)
  .filter(each => !each.closest('.table') && !each.closest('.skip, .unseen'))
  .map(each => `${each.tagName}.${each.getAttribute('class')}`)
"""
"""Elements that reach beyond the right side, but for tables, which scroll."""


def headings(page: Any) -> list[int]:
    """Return the levels of the headings, in their order."""
    found: list[int] = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(each => +each.tagName[1])"
    )
    return found
