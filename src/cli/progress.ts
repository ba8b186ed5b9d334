/** Shows how training goes: a bar on a terminal, a line for each epoch anywhere else. */

import { Presets, SingleBar } from "cli-progress";
import { percent, type Score } from "./score.js";

/** What is known after some steps. */
export interface Status {
  /** Steps done. */
  readonly step: number;
  /** Epochs begun. */
  readonly epoch: number;
  /** Mean training loss of the epoch so far. */
  readonly loss: number;
  /** Of the held-out images, as of the last finished epoch. */
  readonly score: Score | null;
  readonly stepsPerSecond: number;
  readonly gflops: number;
}

/** Where progress is shown. */
export interface Progress {
  /** Within an epoch: as often as it pleases. */
  update(status: Status): void;
  /** At the end of each epoch. */
  finishEpoch(status: Status): void;
  stop(): void;
}

/** Progress of a training of so many epochs and steps, on a terminal or in a log. */
export function createProgress(stream: NodeJS.WriteStream, epochs: number, steps: number): Progress {
  return stream.isTTY ? terminalBar(stream, epochs, steps) : logLines(stream, epochs);
}

function fields(status: Status, epochs: number) {
  return {
    epoch: `${String(status.epoch).padStart(String(epochs).length)}/${epochs}`,
    loss: status.loss.toFixed(4),
    accuracy: status.score === null ? "–" : percent(status.score.correct, status.score.count),
    speed: `${Math.round(status.stepsPerSecond)} steps/s`,
    gflops: `${status.gflops.toFixed(1)} GFLOP/s`,
  };
}

function terminalBar(stream: NodeJS.WriteStream, epochs: number, steps: number): Progress {
  const format = "epoch {epoch} {bar} loss {loss} · held out {accuracy} · {speed} · {gflops} · {eta_formatted} left";
  const bar = new SingleBar({ format, stream, barsize: 20, hideCursor: true, fps: 10 }, Presets.shades_classic);
  const unknown = { epoch: `1/${epochs}`, loss: "–", accuracy: "–", speed: "–", gflops: "–" };
  bar.start(steps, 0, unknown);
  const update = (status: Status) => bar.update(status.step, fields(status, epochs));
  return { update, finishEpoch: update, stop: () => bar.stop() };
}

function logLines(stream: NodeJS.WriteStream, epochs: number): Progress {
  return {
    update: () => {},
    finishEpoch: (status) => {
      const { epoch, loss, accuracy, speed, gflops } = fields(status, epochs);
      stream.write(`epoch ${epoch}  loss ${loss}  held out ${accuracy}  ${speed}  ${gflops}\n`);
    },
    stop: () => {},
  };
}
