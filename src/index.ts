/**
 * lanegrad: autograd for JavaScript on WebAssembly SIMD kernels.
 * @packageDocumentation
 */
import "./tensor/methods.js";

export type { ArrayOf, DType, TypedArray } from "./graph/dtype.js";
export * from "./graph/errors.js";
export type { RecomputePolicy } from "./graph/policy.js";
export type { Shape } from "./graph/shape.js";
export type { Origin } from "./graph/sites.js";
export { detach, detach as stopGradient, noGrad, Tensor } from "./graph/tensor.js";
export type { Tree } from "./graph/tree.js";
export * as nn from "./nn/index.js";
export type { Reduction, TensorLike } from "./ops/define.js";
export * from "./ops/index.js";
export * from "./ops/random.js";
export * as optim from "./optim/index.js";
export type { MemoryReport, PlannedState, PlannedValue, ValueRole } from "./plan/memory.js";
export type { Build } from "./runtime/load.js";
export type { MeasuredMemory } from "./runtime/peak.js";
export type { RuntimeOptions } from "./runtime/runtime.js";
export { type Compiled, type CompileOptions, compile, type Returned } from "./tensor/compile.js";
export * from "./tensor/creation.js";
export { type BackendInfo, backendInfo, init } from "./tensor/session.js";
export { type ExampleDims, vmap } from "./transforms/batch.js";
export { checkpoint, checkpointName } from "./transforms/checkpoint.js";
export { type CustomRule, customVjp } from "./transforms/custom.js";
export { hessian, hvp, type JacobianOf, type JacobianOptions, jacobian } from "./transforms/derivatives.js";
export { jvp } from "./transforms/forward.js";
export { type GradcheckOptions, gradcheck, gradgradcheck } from "./transforms/gradcheck.js";
export { backward, grad, valueAndGrad, vjp } from "./transforms/reverse.js";
