import * as lanegrad from "../../build/js/index.js";
import { train } from "./tiny-run.js";

try {
  await lanegrad.init();
  globalThis.outcome = { ...train(lanegrad), build: lanegrad.backendInfo().build };
} catch (error) {
  globalThis.outcome = { error: String(error) };
}
