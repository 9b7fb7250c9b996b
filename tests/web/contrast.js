// Every visible text whose contrast with what lies behind it is below 4.5 (3 where it is large): [how many were looked at, the weak ones].
() => {
  const parse = (text) => {
    const n = text.match(/[\d.]+/g).map(Number);
    return [n[0], n[1], n[2], n[3] ?? 1];
  };
  const over = (top, under) => [...top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3])), 1];
  const linear = (x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const up = function* (element) {
    for (let e = element; e; e = e.parentElement) yield [e, getComputedStyle(e)];
  };

  // What may lie behind: the nearest solid colours, those of a gradient each for itself, with translucent ones laid over them.
  const grounds = (element) => {
    const layers = [];
    for (const [, style] of up(element)) {
      const gradient = style.backgroundImage.includes("gradient") ? style.backgroundImage.match(/rgba?\([^)]*\)/g) : [];
      const colours = [style.backgroundColor, ...(gradient ?? [])].map(parse).filter((c) => c[3] > 0);
      if (!colours.length) continue;
      layers.unshift(colours);
      if (colours.every((c) => c[3] === 1)) break;
    }
    return layers.reduce((under, layer) => layer.flatMap((c) => under.map((u) => over(c, u))), [[255, 255, 255, 1]]);
  };

  const weak = new Set();
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    const box = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    const hidden = box.width < 2 || box.height < 2 || style.visibility === "hidden" || element.closest(".sr, option, script, noscript");
    if (!text || hidden) continue;
    seen += 1;
    const ink = parse(element instanceof SVGElement ? style.fill : style.color);
    const opacity = [...up(element)].reduce((all, [, one]) => all * Number(one.opacity), 1);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    for (const ground of grounds(element)) {
      const [a, b] = [light(over([ink[0], ink[1], ink[2], ink[3] * opacity], ground)), light(ground)].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < least) weak.add(`${text.slice(0, 30)} <${element.tagName} ${element.getAttribute("class")}> ${ratio.toFixed(2)}`);
    }
  }
  return [seen, [...weak]];
}
