/** The systems as processes: one each, so that none warms up or disturbs another. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Task } from "./workloads.js";

interface Reply {
  readonly values?: readonly number[];
  readonly milliseconds?: number;
  readonly error?: string;
}

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** A system that runs workloads in a process of its own. */
export class System {
  private readonly child: ChildProcess;
  private readonly replies: AsyncIterator<string>;
  private readonly lines: Interface;

  constructor(
    readonly name: string,
    command: readonly [string, ...string[]],
  ) {
    const [program, ...rest] = command;
    this.child = spawn(program, rest, { stdio: ["pipe", "pipe", "inherit"] });
    // A request to a process that has ended fails here and in `ask`, which says so.
    this.child.stdin?.on("error", () => {});
    this.lines = createInterface({ input: this.child.stdout as NodeJS.ReadableStream });
    this.replies = this.lines[Symbol.asyncIterator]();
  }

  private async ask(request: object): Promise<Reply> {
    this.child.stdin?.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.replies.next();
    if (done === true) throw new Error(`${this.name}: its process ended`);
    const reply = JSON.parse(value as string) as Reply;
    if (reply.error !== undefined) throw new Error(`${this.name}: ${reply.error}`);
    return reply;
  }

  /** Prepares a workload; gives the first losses, or elements of the result. */
  async prepare(task: Task): Promise<readonly number[]> {
    return (await this.ask({ task })).values as readonly number[];
  }

  /** Runs `steps` steps; gives milliseconds. */
  async run(steps: number): Promise<number> {
    return (await this.ask({ steps })).milliseconds as number;
  }

  stop(): void {
    this.lines.close();
    this.child.stdin?.end();
    this.child.kill();
  }
}

/** Installs the JavaScript peers if they are not yet. */
export function install(): void {
  if (existsSync(here("node_modules"))) return;
  const { status } = spawnSync("npm", ["ci", "--no-audit", "--no-fund"], { cwd: here("."), stdio: "inherit" });
  if (status !== 0) throw new Error("npm ci failed in bench/peers: the peers are not installed");
}

/** Starts lanegrad on `build`, and every peer that is there: PyTorch only where Python finds it. */
export function startSystems(build: string): System[] {
  const worker = (system: string): [string, ...string[]] => [
    process.execPath,
    "--import",
    "tsx",
    here("worker.ts"),
    system,
  ];
  const systems = [
    new System("lanegrad", worker(`lanegrad-${build}`)),
    new System("TensorFlow.js", worker("tfjs")),
    new System("jax-js", worker("jax")),
  ];
  if (spawnSync("python3", ["-c", "import torch"]).status === 0)
    systems.push(new System("PyTorch", ["python3", here("torch_worker.py")]));
  else console.error("python3 finds no PyTorch: comparing without it");
  return systems;
}
