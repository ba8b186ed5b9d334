/**
 * The interpreter: walks a program's instructions and calls the kernel of each. One call runs a whole training step.
 *
 * Every thread of a run calls `run` with the same program and its own number and scratch.
 */
import { Flag, Opcode, StatusField } from "../src/isa";
import { attention } from "./attention";
import { channelNorm } from "./channel-norm";
import { convolution } from "./conv";
import { copy, fill } from "./copy";
import { elementwise } from "./elementwise";
import { gather, scatter } from "./gather";
import { gemm } from "./gemm";
import { pool } from "./pool";
import { reduce } from "./reduce";
import { rows } from "./rows";
import { scan } from "./scan";
import { sort } from "./sort";
import { flagsOf, lengthOf, opcodeOf } from "./word";

/**
 * Runs the program at `code` and returns 0, or 1 where an instruction stopped it (an index out of range): then the
 * status record at `status` says which and why, and no later instruction has run.
 */
export function run(code: usize, scratch: usize, status: usize, thread: i32, threads: i32): i32 {
  let pc = code;
  while (true) {
    let failed = false;
    switch (opcodeOf(pc)) {
      case Opcode.End:
        return 0;
      case Opcode.Elementwise:
        elementwise(pc, scratch, thread, threads);
        break;
      case Opcode.Gemm:
        gemm(pc, scratch, thread, threads);
        if (flagsOf(pc) & Flag.Epilogue) pc += lengthOf(pc);
        break;
      case Opcode.Reduce:
        reduce(pc, scratch, thread, threads);
        break;
      case Opcode.Copy:
        copy(pc, thread, threads);
        break;
      case Opcode.Fill:
        fill(pc, thread, threads);
        break;
      case Opcode.Gather:
        failed = gather(pc, status, thread, threads);
        break;
      case Opcode.Scatter:
        failed = scatter(pc, status, thread, threads);
        break;
      case Opcode.Convolution:
        convolution(pc, scratch, thread, threads);
        if (flagsOf(pc) & Flag.Epilogue) pc += lengthOf(pc);
        break;
      case Opcode.Pool:
        pool(pc, thread, threads);
        break;
      case Opcode.Attention:
        attention(pc, thread, threads);
        break;
      case Opcode.Rows:
        failed = rows(pc, scratch, status, thread, threads);
        break;
      case Opcode.Scan:
        scan(pc, scratch, thread, threads);
        break;
      case Opcode.Sort:
        sort(pc, scratch, thread, threads);
        break;
      case Opcode.ChannelNorm:
        channelNorm(pc, scratch, thread, threads);
        break;
      default:
        unreachable();
    }
    if (failed) {
      store<u32>(status + (StatusField.Instruction << 2), <u32>(pc - code));
      return 1;
    }
    pc += lengthOf(pc);
  }
}
