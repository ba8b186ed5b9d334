/** Programs as text: the steps with their addresses, and the map of the arena. */
import { Opcode } from "../isa.js";
import type { Buffer, Step } from "./buffer.js";

const OPCODES: Readonly<Record<Opcode, string>> = {
  [Opcode.End]: "end",
  [Opcode.Elementwise]: "elementwise",
  [Opcode.Gemm]: "gemm",
  [Opcode.Reduce]: "reduce",
  [Opcode.Copy]: "copy",
  [Opcode.Fill]: "fill",
  [Opcode.Gather]: "gather",
  [Opcode.Scatter]: "scatter",
  [Opcode.Convolution]: "convolution",
  [Opcode.Pool]: "pool",
  [Opcode.Rows]: "rows",
  [Opcode.Attention]: "attention",
  [Opcode.Scan]: "scan",
  [Opcode.Sort]: "sort",
  [Opcode.ChannelNorm]: "channelNorm",
};

/** The name of an opcode. */
export function opcodeName(opcode: number): string {
  return OPCODES[opcode as Opcode];
}

function place(buffer: Buffer): string {
  const { region, offset } = buffer;
  if (region.kind === "state") return `state${region.slot}`;
  return region.kind === "pool" ? "pool" : `@${offset}`;
}

/** One line a step: what it computes, from where, to where. */
export function printSteps(steps: readonly Step[]): string {
  return steps
    .map((step, i) => {
      const names = step.nodes.map((node) => node.primitive.name).join("+");
      const [reads, writes] = [step.reads, step.writes].map((list) => [...new Set(list.map(place))].join(" "));
      return `${String(i).padStart(4)} ${opcodeName(step.opcode).padEnd(11)} ${writes} ← ${reads}   ${names}`;
    })
    .join("\n");
}

/** One line a temporary, by address: bytes, the steps that it lives through, and what it holds. */
export function printArena(temporaries: readonly Buffer[]): string {
  return [...temporaries]
    .sort((a, b) => a.offset - b.offset || a.first - b.first)
    .map(({ offset, bytes, first, last, node }) => {
      const span = `${first} to ${last === Number.POSITIVE_INFINITY ? "end" : last}`;
      const what = node === null ? "workspace" : `${node.primitive.name} ${node.dtype}[${node.shape}]`;
      return `  @${String(offset).padEnd(10)} ${String(bytes).padStart(10)} bytes  steps ${span.padEnd(12)} ${what}`;
    })
    .join("\n");
}
