import * as lanegrad from "../../build/js/index.js";
import { train } from "./tiny-run.js";

/** Shows the outcome, as the element that the test waits for. */
function show(outcome) {
  const output = document.createElement("output");
  output.textContent = JSON.stringify(outcome);
  document.body.append(output);
}

try {
  await lanegrad.init();
  show({ ...train(lanegrad), build: lanegrad.backendInfo().build });
} catch (error) {
  show({ error: String(error) });
}
