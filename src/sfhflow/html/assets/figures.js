"use strict";
// Draw the figures of a part of a page into its elements [data-figure].
function drawFigures(root, figures) {
  for (const [name, item] of Object.entries(figures)) {
    const place = root.querySelector(`[data-figure="${name}"]`);
    if (place) {
      place.replaceChildren();
      Bokeh.embed.embed_item(item, place);
    }
  }
}
const carried = document.getElementById("figures");
if (carried) drawFigures(document, JSON.parse(carried.textContent));
