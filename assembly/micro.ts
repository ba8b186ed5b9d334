/**
 * Runs micro-operations: the choice of the loop for each.
 *
 * The loops are divided among functions because an engine optimizes a function as a whole, all the loops in it, and the
 * more eagerly the longer its code: one function for all of them kept V8 busy for 20 ms after the first few calls, and
 * Node 20 does not end a process before that is done.
 */
import { Layout } from "../src/isa";
import { MicroOp } from "../src/micro-op";
import { ADAM_STEP_BYTES, adamStep } from "./micro-adam";
import { map1, map2, map6, mapFours, mapGuarded, stream1, stream2, stream3, stream4 } from "./micro-loops";
import {
  Abs,
  AbsI,
  Acos,
  Add,
  AddI,
  And,
  Asin,
  Atan,
  Atan2,
  BitNot,
  Ceil,
  Copy,
  Cos,
  Div,
  DivI,
  DivRoot,
  DivRootMulAdd,
  Equal,
  EqualI,
  Erf,
  ErfExponent,
  ErfFar,
  Exp,
  Expm1,
  F32ToBool,
  F32ToI32,
  Floor,
  Fmod,
  Gelu,
  GeluGradient,
  GeluTanh,
  GeluTanhGradient,
  I32ToBool,
  I32ToF32,
  Less,
  LessEqual,
  LessEqualI,
  LessI,
  Log,
  Log1p,
  Max,
  MaxI,
  Min,
  MinI,
  Mul,
  MulAdd,
  MulAddMul,
  MulAddMulMul,
  MulI,
  Neg,
  NegI,
  Not,
  NotEqual,
  NotEqualI,
  Or,
  Pow,
  Reciprocal,
  Relu,
  RemI,
  RootMulAdd,
  Round,
  Select,
  Sigmoid,
  Sign,
  SignI,
  Silu,
  SiluGradient,
  Sin,
  Softplus,
  Sqrt,
  Sub,
  SubI,
  SubMulAdd,
  Tan,
  Tanh,
  TanhFar,
  Trunc,
  Xor,
} from "./operations";
import { randomBits } from "./random";
import { pointerOf, slotOf, stepOf } from "./slots";

function iota(to: usize, first: i32, end: usize): void {
  let index = i32x4.add(i32x4.splat(first), i32x4(0, 1, 2, 3));
  const four = i32x4.splat(4);
  while (to < end) {
    v128.store(to, index);
    index = i32x4.add(index, four);
    to += 16;
  }
}

/** One operand, f32: a few instructions an element. */
function unary(op: i32, to: usize, a: usize, aStep: usize, slots: usize, end: usize): void {
  switch (op) {
    case MicroOp.Copy:
      stream1<Copy>(to, a, aStep, end);
      break;
    case MicroOp.Neg:
      stream1<Neg>(to, a, aStep, end);
      break;
    case MicroOp.Abs:
      stream1<Abs>(to, a, aStep, end);
      break;
    case MicroOp.Sqrt:
      stream1<Sqrt>(to, a, aStep, end);
      break;
    case MicroOp.Reciprocal:
      stream1<Reciprocal>(to, a, aStep, end);
      break;
    case MicroOp.Floor:
      stream1<Floor>(to, a, aStep, end);
      break;
    case MicroOp.Ceil:
      stream1<Ceil>(to, a, aStep, end);
      break;
    case MicroOp.Trunc:
      stream1<Trunc>(to, a, aStep, end);
      break;
    case MicroOp.Round:
      stream1<Round>(to, a, aStep, end);
      break;
    case MicroOp.Sign:
      stream1<Sign>(to, a, aStep, end);
      break;
    default:
      mathematical(op, to, a, aStep, slots, end);
  }
}

/**
 * The hyperbolic tangent in two passes over the block, and the error function in three, each of which leaves its
 * constants in registers, where all of them would not fit: both take three quarters of the time of one pass.
 */
function tanh(to: usize, a: usize, aStep: usize, slots: usize, end: usize): void {
  const far = slots + Layout.ScratchSpare;
  map1<TanhFar>(far, a, aStep, far + (end - to));
  map2<Tanh>(to, a, aStep, far, 16, end);
}

/** As `tanh`. */
function erf(to: usize, a: usize, aStep: usize, slots: usize, end: usize): void {
  const far = slots + Layout.ScratchSpare;
  const farEnd = far + (end - to);
  map1<ErfExponent>(far, a, aStep, farEnd);
  map1<ErfFar>(far, far, 16, farEnd);
  map2<Erf>(to, a, aStep, far, 16, end);
}

/** One operand, f32: functions of many instructions. */
function mathematical(op: i32, to: usize, a: usize, aStep: usize, slots: usize, end: usize): void {
  switch (op) {
    case MicroOp.Exp:
      mapGuarded<Exp>(to, a, aStep, end, slots);
      break;
    case MicroOp.Log:
      mapGuarded<Log>(to, a, aStep, end, slots);
      break;
    case MicroOp.Expm1:
      map1<Expm1>(to, a, aStep, end);
      break;
    case MicroOp.Log1p:
      map1<Log1p>(to, a, aStep, end);
      break;
    case MicroOp.Sin:
      map1<Sin>(to, a, aStep, end);
      break;
    case MicroOp.Cos:
      map1<Cos>(to, a, aStep, end);
      break;
    case MicroOp.Tan:
      map1<Tan>(to, a, aStep, end);
      break;
    case MicroOp.Tanh:
      tanh(to, a, aStep, slots, end);
      break;
    case MicroOp.Sigmoid:
      mapGuarded<Sigmoid>(to, a, aStep, end, slots);
      break;
    case MicroOp.Erf:
      erf(to, a, aStep, slots, end);
      break;
    case MicroOp.GeluTanh:
      map1<GeluTanh>(to, a, aStep, end);
      break;
    case MicroOp.Gelu:
      map1<Gelu>(to, a, aStep, end);
      break;
    case MicroOp.Silu:
      map1<Silu>(to, a, aStep, end);
      break;
    case MicroOp.Softplus:
      map1<Softplus>(to, a, aStep, end);
      break;
    case MicroOp.Asin:
      map1<Asin>(to, a, aStep, end);
      break;
    case MicroOp.Acos:
      map1<Acos>(to, a, aStep, end);
      break;
    case MicroOp.Atan:
      map1<Atan>(to, a, aStep, end);
      break;
    default:
      unreachable();
  }
}

/** One operand: integers, and conversions. */
function unaryInteger(op: i32, to: usize, a: usize, aStep: usize, end: usize): void {
  switch (op) {
    case MicroOp.NegI:
      stream1<NegI>(to, a, aStep, end);
      break;
    case MicroOp.AbsI:
      stream1<AbsI>(to, a, aStep, end);
      break;
    case MicroOp.SignI:
      stream1<SignI>(to, a, aStep, end);
      break;
    case MicroOp.Not:
      stream1<Not>(to, a, aStep, end);
      break;
    case MicroOp.BitNot:
      stream1<BitNot>(to, a, aStep, end);
      break;
    case MicroOp.F32ToI32:
      stream1<F32ToI32>(to, a, aStep, end);
      break;
    case MicroOp.I32ToF32:
      stream1<I32ToF32>(to, a, aStep, end);
      break;
    case MicroOp.F32ToBool:
      stream1<F32ToBool>(to, a, aStep, end);
      break;
    case MicroOp.I32ToBool:
      stream1<I32ToBool>(to, a, aStep, end);
      break;
    default:
      unreachable();
  }
}

/** Two operands, f32. */
function binary(op: i32, to: usize, a: usize, aStep: usize, b: usize, bStep: usize, end: usize): void {
  switch (op) {
    case MicroOp.Add:
      stream2<Add>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.Sub:
      stream2<Sub>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.Mul:
      stream2<Mul>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.Div:
      stream2<Div>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.Max:
      stream2<Max>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.Relu:
      stream2<Relu>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.Min:
      stream2<Min>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.Less:
      stream2<Less>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.LessEqual:
      stream2<LessEqual>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.Equal:
      stream2<Equal>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.NotEqual:
      stream2<NotEqual>(to, a, aStep, b, bStep, end);
      break;
    default:
      mathematical2(op, to, a, aStep, b, bStep, end);
  }
}

/** Two operands: integers. */
function binaryInteger(op: i32, to: usize, a: usize, aStep: usize, b: usize, bStep: usize, end: usize): void {
  switch (op) {
    case MicroOp.AddI:
      stream2<AddI>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.SubI:
      stream2<SubI>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.MulI:
      stream2<MulI>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.MaxI:
      stream2<MaxI>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.MinI:
      stream2<MinI>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.And:
      stream2<And>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.Or:
      stream2<Or>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.Xor:
      stream2<Xor>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.LessI:
      stream2<LessI>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.LessEqualI:
      stream2<LessEqualI>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.EqualI:
      stream2<EqualI>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.NotEqualI:
      stream2<NotEqualI>(to, a, aStep, b, bStep, end);
      break;
    default:
      mathematical2(op, to, a, aStep, b, bStep, end);
  }
}

/** Two operands: functions of many instructions. */
function mathematical2(op: i32, to: usize, a: usize, aStep: usize, b: usize, bStep: usize, end: usize): void {
  switch (op) {
    case MicroOp.Pow:
      map2<Pow>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.Fmod:
      map2<Fmod>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.Atan2:
      map2<Atan2>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.GeluTanhGradient:
      mapFours<GeluTanhGradient>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.GeluGradient:
      mapFours<GeluGradient>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.SiluGradient:
      mapFours<SiluGradient>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.DivI:
      map2<DivI>(to, a, aStep, b, bStep, end);
      break;
    case MicroOp.RemI:
      map2<RemI>(to, a, aStep, b, bStep, end);
      break;
    default:
      unreachable();
  }
}

/** Three operands and more. */
function several(
  op: i32,
  to: usize,
  a: usize,
  aStep: usize,
  b: usize,
  bStep: usize,
  slots: usize,
  pc: usize,
  end: usize,
): void {
  switch (op) {
    case MicroOp.Select:
      stream3<Select>(to, a, aStep, b, bStep, slots, pc, end);
      break;
    case MicroOp.MulAdd:
      stream3<MulAdd>(to, a, aStep, b, bStep, slots, pc, end);
      break;
    case MicroOp.RootMulAdd:
      stream3<RootMulAdd>(to, a, aStep, b, bStep, slots, pc, end);
      break;
    case MicroOp.SubMulAdd:
    case MicroOp.AdamStep:
      stream4<SubMulAdd>(to, a, aStep, b, bStep, slots, pc, end);
      break;
    case MicroOp.MulAddMul:
      stream4<MulAddMul>(to, a, aStep, b, bStep, slots, pc, end);
      break;
    case MicroOp.MulAddMulMul:
      map6<MulAddMulMul>(to, a, aStep, b, bStep, slots, pc, end);
      break;
    case MicroOp.DivRoot:
      stream4<DivRoot>(to, a, aStep, b, bStep, slots, pc, end);
      break;
    case MicroOp.DivRootMulAdd:
      map6<DivRootMulAdd>(to, a, aStep, b, bStep, slots, pc, end);
      break;
    default:
      unreachable();
  }
}

/** Runs the micro-operation at `pc`. The numbers of micro-operations are dealt out by the number and kind of operands. */
function microOp(pc: usize, slots: usize, vectors: i32, first: i32): void {
  const to = pointerOf(slotOf(slots, pc, 1));
  const end = to + (<usize>vectors << 4);
  const aSlot = slotOf(slots, pc, 2);
  const a = pointerOf(aSlot);
  const aStep = stepOf(aSlot);
  const bSlot = slotOf(slots, pc, 3);
  const b = pointerOf(bSlot);
  const bStep = stepOf(bSlot);
  const op = <i32>load<u8>(pc);
  if (op < MicroOp.Add) unary(op, to, a, aStep, slots, end);
  else if (op < MicroOp.NegI) binary(op, to, a, aStep, b, bStep, end);
  else if (op < MicroOp.AddI) unaryInteger(op, to, a, aStep, end);
  else if (op < MicroOp.F32ToI32) binaryInteger(op, to, a, aStep, b, bStep, end);
  else if (op < MicroOp.Select) unaryInteger(op, to, a, aStep, end);
  else if (op < MicroOp.Iota) several(op, to, a, aStep, b, bStep, slots, pc, end);
  else if (op == MicroOp.Iota) iota(to, first, end);
  else if (op == MicroOp.RandomBits) randomBits(to, a, first, vectors);
  else unreachable();
}

/**
 * Runs the micro-operations from `pc` to `programEnd` over `vectors` vectors. The slot table is at `slots`; `first` is
 * the index of the block's first element in the linear space.
 */
export function microOps(pc: usize, programEnd: usize, slots: usize, vectors: i32, first: i32): void {
  while (pc < programEnd) {
    if (<i32>load<u8>(pc) == MicroOp.AdamStep && adamStep(pc, slots, vectors)) {
      pc += ADAM_STEP_BYTES;
    } else {
      microOp(pc, slots, vectors, first);
      pc += 8;
    }
  }
}
