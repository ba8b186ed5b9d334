/** The plan as a page that needs nothing else: no script, no style sheet, so that it shows under any content policy. */
import { escaped } from "../plan/report.js";

/**
 * @param title names the plan
 * @param text the report
 * @param map the map of the temporaries, as SVG
 */
export function planPage(title: string, text: string, map: string): string {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>lanegrad plan: ${escaped(title)}</title></head>
<body>
<h1>Memory of ${escaped(title)}</h1>
<pre>${escaped(text)}</pre>
<h2>Temporaries: steps to the right, addresses upwards</h2>
<p>Rest the pointer on a rectangle to see what it is.</p>
${map}</body>
</html>
`;
}
