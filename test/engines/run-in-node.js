import * as lanegrad from "../../build/node/index.js";
import { train } from "./tiny-run.js";

await lanegrad.init();
console.log(JSON.stringify({ ...train(lanegrad), build: lanegrad.backendInfo().build }));
