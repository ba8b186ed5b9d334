/**
 * The instruction set: what a program in linear memory looks like, read by both compilers.
 *
 * The encoder (TypeScript) writes programs in this layout and the interpreter (AssemblyScript) reads them, from this
 * one file, so the two sides cannot disagree. It therefore holds only what both languages share: `const enum`s of
 * integers. (In both, an enum member is a compile-time constant.)
 *
 * A program is a sequence of instructions, each a run of 32-bit little-endian words. Word 0 is the header:
 *
 *      31            16 15       8 7        0
 *     ┌────────────────┬──────────┬──────────┐
 *     │ length (words) │  flags   │  opcode  │
 *     └────────────────┴──────────┴──────────┘
 *
 * Addresses are absolute byte offsets into linear memory. Strides and sizes count elements. Every element takes four
 * bytes: f32, i32, and bool (an i32 that is 0 or 1), so that one lane is one element in every vector. Buffers start at
 * multiples of `Layout.Alignment` and their length is rounded up to it, so a kernel may read and write whole vectors
 * past the last element of a buffer, but never past that rounding.
 */

/** Sizes and limits that encoder and interpreter agree on. */
export const enum Layout {
  /** Bytes of one element of any dtype. */
  ElementBytes = 4,
  /** Every buffer starts at a multiple of this and its length is rounded up to it, in bytes. */
  Alignment = 16,
  /** Elements of one block of an elementwise chain: registers of this many elements stay in the L1 cache. */
  BlockElements = 512,
  /** Block registers (gathered inputs included) that one elementwise instruction may use. */
  MaxRegisters = 24,
  /** Slots (inputs, outputs and registers together) that one elementwise instruction may name. */
  MaxSlots = 96,
  /** Dimensions of an iteration space after collapsing. The encoder copies what needs more. */
  MaxRank = 8,
  /** Scratch bytes that each thread owns: slot table, odometer and splats (4096), the block registers, a spare block. */
  ScratchBytes = 55296,
  /** Where the block registers start within a thread's scratch. */
  ScratchRegisters = 4096,
  /** Where a micro-operation may keep an operand that it overwrites. */
  ScratchSpare = 53248,
}

/** The low byte of an instruction's header. */
export const enum Opcode {
  End = 0,
  Elementwise = 1,
  Gemm = 2,
  Reduce = 3,
  Copy = 4,
  Fill = 5,
  Gather = 6,
  Scatter = 7,
  Convolution = 8,
  Pool = 9,
  Rows = 10,
  Attention = 11,
  Scan = 12,
  Sort = 13,
  ChannelNorm = 14,
}

/** Bits of the second byte of an instruction's header. */
export const enum Flag {
  None = 0,
  /** Gemm: add to C instead of overwriting it. */
  Accumulate = 1,
  /**
   * Gemm, Convolution: the next instruction is an Elementwise over the elements that this one writes; run it on each
   * finished range, then skip it.
   */
  Epilogue = 2,
}

/**
 * Elementwise: a chain of micro-operations over a linear space of `Count` elements, in blocks of
 * `Layout.BlockElements`. Every micro-operation reads and writes whole blocks.
 *
 * After the fixed words: `rank` sizes of the iteration space (row-major; only strided inputs use them), then for every
 * input its kind and address, followed by `rank` strides when the kind is `Strided`; then every output's address;
 * then two words for every micro-operation:
 *
 *     word 0: micro-op | destination << 8 | a << 16 | b << 24        word 1: c | d << 8 | e << 16 | f << 24
 *
 * Operands and destinations are slots: inputs first, then outputs, then registers. An output slot may be read again
 * by later micro-operations. The range of an epilogue is a part of the same linear space.
 */
export const enum ElementwiseField {
  Count = 1,
  /** inputs | outputs << 8 | registers << 16 | rank << 24 */
  Counts = 2,
  /** Number of micro-operations. */
  Operations = 3,
  /** First of the variable words. */
  Body = 4,
}

/** How an elementwise input is laid out over the linear space. */
export const enum InputKind {
  /** One element after the other, in the order of the space. */
  Contiguous = 0,
  /** One element for the whole space. */
  Scalar = 1,
  /** Any strides (zero and negative ones too): gathered into a register block by block. */
  Strided = 2,
  /** A small record read by the micro-operation itself (the key of `RandomBits`). */
  Record = 3,
}

/**
 * Gemm: C[m,n] = Σ_k A[m,k]·B[k,n] (+ bias[n]) (+ C[m,n] with `Flag.Accumulate`), for every index of the batch.
 * A and B have any row and column strides, so transposes and broadcasts need no copy. C's columns are adjacent.
 * After the fixed words, for each of `BatchRank` dimensions: size, stride of A, stride of B, stride of C.
 * K may be 0 (C becomes the bias, or zeros).
 */
export const enum GemmField {
  M = 1,
  N = 2,
  K = 3,
  A = 4,
  ARow = 5,
  AColumn = 6,
  B = 7,
  BRow = 8,
  BColumn = 9,
  C = 10,
  CRow = 11,
  /** Address of N contiguous floats, or 0. */
  Bias = 12,
  /** Address of `gemmWorkspace(...)` bytes for packed panels. */
  Workspace = 13,
  BatchRank = 14,
  Batch = 15,
}

/**
 * Reduce: out[kept…] = ⊕ over the reduced dimensions of in[kept…, reduced…]; out is contiguous in the order of the
 * kept dimensions. After the fixed words, (size, stride) of every kept dimension, then of every reduced one.
 * A reduction over nothing gives the operation's identity.
 */
export const enum ReduceField {
  /** A `ReduceOp`. */
  Operation = 1,
  Out = 2,
  In = 3,
  KeptRank = 4,
  ReducedRank = 5,
  KeptCount = 6,
  ReducedCount = 7,
  Dims = 8,
}

/** What a Reduce does. The arg- variants write the row-major index within the reduced dimensions, as i32. */
export const enum ReduceOp {
  SumF32 = 0,
  /** Σx² */
  SquareSumF32 = 1,
  ProdF32 = 2,
  MaxF32 = 3,
  MinF32 = 4,
  ArgMaxF32 = 5,
  ArgMinF32 = 6,
  SumI32 = 7,
  ProdI32 = 8,
  MaxI32 = 9,
  MinI32 = 10,
  ArgMaxI32 = 11,
  ArgMinI32 = 12,
}

/** Copy: dst[i…] = src[i…] over `Rank` dimensions; (size, destination stride, source stride) of each follow. */
export const enum CopyField {
  Destination = 1,
  Source = 2,
  Rank = 3,
  Dims = 4,
}

/** Fill: `Count` elements from `Destination` on become the 32-bit word `Value`. */
export const enum FillField {
  Destination = 1,
  Count = 2,
  Value = 3,
  Length = 4,
}

/**
 * Gather: out[o, j, i] = src[o, index[o, j, i], i] for o < Outer, j < Picked, i < Inner; out and src are contiguous,
 * src as [Outer, Axis, Inner]. The index has strides of its own: (0, 1, 0) selects whole rows (an embedding), its own
 * row-major ones select element by element. An index below 0 or not below Axis stops the program.
 *
 * Scatter has the same words and runs the other way: out[o, index[o, j, i], i] ⊕= src[o, j, i] in rising order of j,
 * out as [Outer, Axis, Inner] already holding what the sources are combined with.
 */
export const enum GatherField {
  Out = 1,
  Source = 2,
  Index = 3,
  Outer = 4,
  Axis = 5,
  Picked = 6,
  Inner = 7,
  IndexOuterStride = 8,
  IndexPickedStride = 9,
  IndexInnerStride = 10,
  /** Scatter only: a `ScatterOp`. */
  Operation = 11,
  Length = 12,
}

/** How Scatter combines. */
export const enum ScatterOp {
  Add = 0,
  Replace = 1,
  Multiply = 2,
  Maximum = 3,
  Minimum = 4,
  /** Integer addition. */
  AddI32 = 5,
}

/**
 * Convolution: the three products of an image X[n, g·C + c, i], a weight W[g·M + m, c, t] and an output
 * Y[n, g·M + m, o], all contiguous, where output o and tap t meet at i = o·stride − padding + t·dilation in each of three
 * dimensions (fewer have size 1 in front); what lies outside of the image is 0. `Mode` says which of the three is
 * computed from the other two.
 */
export const enum ConvField {
  /** A `ConvMode`. */
  Mode = 1,
  Image = 2,
  Weight = 3,
  Output = 4,
  /** One float for every channel of the computed tensor, or 0; not for `ConvMode.Weight`. */
  Bias = 5,
  /** Address of `convWorkspaceBytes(...)` bytes for each thread. */
  Workspace = 6,
  /** Bytes of one thread's part of the workspace. */
  WorkspaceBytes = 7,
  Batch = 8,
  Groups = 9,
  /** C: channels of the image in one group. */
  ImageChannels = 10,
  /** M: channels of the output in one group. */
  OutputChannels = 11,
  /** Three words each, outermost dimension first. */
  ImageSize = 12,
  KernelSize = 15,
  OutputSize = 18,
  Stride = 21,
  /** Before the image; what follows it is as wide as the output needs. */
  Padding = 24,
  Dilation = 27,
  /** Winograd modes that compute a tensor: tile lines of a block (see `workspace/winograd.ts`). */
  Lines = 30,
  /** Winograd modes: elements of a tile's side, 2 or 4. */
  Tile = 31,
  Length = 32,
}

/** Which tensor a Convolution computes, and how. */
export const enum ConvMode {
  /** Y[m, o] = bias[m] + Σ_{c,t} W[m, c, t]·X[c, i] */
  Output = 0,
  /** X[c, i] = bias[c] + Σ_{m,t} W[m, c, t]·Y[m, o]: the transposed convolution. */
  Image = 1,
  /** W[m, c, t] = Σ_{n,o} Y[m, o]·X[c, i] */
  Weight = 2,
  /** As `Output`, for 3×3 kernels (see `assembly/winograd.ts`); the weight is what `WinogradOutputWeight` made of it. */
  WinogradOutput = 3,
  /** As `Image`, with what `WinogradImageWeight` made of the weight. */
  WinogradImage = 4,
  /** As `Weight`, for 3×3 kernels. */
  WinogradWeight = 5,
  /** Transforms the weight to `Workspace`, `winogradWeight(...)` floats for all threads together. */
  WinogradOutputWeight = 6,
  WinogradImageWeight = 7,
}

/**
 * Pool: over each of `Planes` contiguous planes of up to three dimensions, combines the elements of windows. Window o
 * covers i = o·stride − padding + t·dilation for t < kernel, of which those outside of the plane are left out; or, with
 * a kernel size of 0 (adaptive), ⌊o·image/output⌋ ≤ i < ⌈(o+1)·image/output⌉.
 */
export const enum PoolField {
  /** A `PoolMode`. */
  Mode = 1,
  /** Planes of `OutputSize`: written, or read by the gradients. */
  Output = 2,
  /** Planes of `ImageSize`: read; not by `PoolMode.AverageGradient`. */
  Image = 3,
  /** Planes of `ImageSize`: written by the gradients. */
  Gradient = 4,
  Planes = 5,
  /** Three words each, outermost dimension first; fewer dimensions have size 1 in front. */
  ImageSize = 6,
  KernelSize = 9,
  OutputSize = 12,
  Stride = 15,
  Padding = 18,
  /** 1 for averages. */
  Dilation = 21,
  /** Averages: the integer that sums are divided by; 0 for the number of elements in the window. */
  Divisor = 24,
  /** Averages: whether padding counts as elements. */
  CountsPadding = 25,
  Length = 26,
}

/** What a Pool computes. */
export const enum PoolMode {
  /** The largest element: the first of equals, or the first NaN. */
  Max = 0,
  /** Where in its plane, row-major, that element is, as i32. */
  MaxIndex = 1,
  /** Each output element added to its window's largest element. */
  MaxGradient = 2,
  Average = 3,
  /** Each output element, divided, added to every element of its window. */
  AverageGradient = 4,
}

/**
 * Rows: a pass over each of `Count` rows of `Length` adjacent elements, row-major in A and in most cases in Out and B.
 */
export const enum RowsField {
  /** A `RowOp`. */
  Operation = 1,
  Count = 2,
  Length = 3,
  Out = 4,
  A = 5,
  B = 6,
  /** One i32 for each row: losses only. */
  Index = 7,
  /** `Length` floats, or (stride 0) one for all of them: norms only. */
  Weight = 8,
  /** 1 or 0. */
  WeightStride = 9,
  /** As `Weight`; not for gradients. */
  Bias = 10,
  BiasStride = 11,
  /** The bits of an f32: epsilon of a norm, label smoothing of a loss. */
  Parameter = 12,
}

/** What Rows computes. A gradient's B is the gradient of what it is the gradient of. */
export const enum RowOp {
  Softmax = 0,
  LogSoftmax = 1,
  /** A is the softmax. */
  SoftmaxGradient = 2,
  /** A is the logarithm of the softmax. */
  LogSoftmaxGradient = 3,
  /** Out: one float for each row. */
  CrossEntropy = 4,
  /** A as of the loss; B: one float for each row. */
  CrossEntropyGradient = 5,
  LayerNorm = 6,
  LayerNormGradient = 7,
  /** Out: a row for each `RowBlock.Rows` rows of A, their part of the gradient of the weight. */
  LayerNormWeight = 8,
  RmsNorm = 9,
  RmsNormGradient = 10,
  RmsNormWeight = 11,
}

/** Rows that `RowOp.LayerNormWeight` adds up in f32 on their own. */
export const enum RowBlock {
  Rows = 64,
}

/**
 * Attention: softmax(Q·Kᵀ·scale)·V of [batch, head, row, column] operands with any strides, or its gradients. Queries,
 * keys, values and the gradient of the output take five words each: the address, then a stride for every dimension.
 */
export const enum AttentionField {
  /**
   * [batch, query, head, column]; the gradients of queries, keys and values so too, one after the other, or where all
   * three are of one size as [batch, row, 3, head, column]. All row-major.
   */
  Out = 1,
  Query = 2,
  Key = 7,
  Value = 12,
  /** Its address is 0 where the output is computed. */
  Gradient = 17,
  Batch = 22,
  Heads = 23,
  Queries = 24,
  Keys = 25,
  /** Columns of queries and keys. */
  Width = 26,
  /** Columns of values. */
  ValueWidth = 27,
  /** 1 where query i looks at keys 0 to i only. */
  Causal = 28,
  /** The bits of an f32. */
  Scale = 29,
  /** Address of `attentionWorkspaceBytes(...)` bytes for each thread. */
  Workspace = 30,
  WorkspaceBytes = 31,
}

/**
 * Scan: out[o, j, i] combines in[o, 0…j, i] (or, backwards, in[o, j…Steps-1, i]) for o < Outer, i < Inner; all
 * row-major.
 */
export const enum ScanField {
  /** A `ScanOp`. */
  Operation = 1,
  Out = 2,
  In = 3,
  /** As `In`: the factors of `ScanOp.LinearF32`; with other operations, `In` again. */
  Factors = 4,
  Outer = 5,
  Steps = 6,
  Inner = 7,
  /** 1 where the last step comes first; not for places of extremes. */
  Backwards = 8,
  Length = 9,
}

/** What a Scan computes. The index variants write where the extreme stands, as i32: the last of equals or of NaN. */
export const enum ScanOp {
  SumF32 = 0,
  ProdF32 = 1,
  /** h = factor · (h of the step before, at first 0) + in. */
  LinearF32 = 2,
  SumI32 = 3,
  ProdI32 = 4,
  MaxIndexF32 = 5,
  MinIndexF32 = 6,
  MaxIndexI32 = 7,
  MinIndexI32 = 8,
}

/**
 * Sort: for each of `Rows` rows of `Length` adjacent elements, the places (i32) of the elements that are number `First`
 * to `First + Count - 1` in sorted order. Equal elements keep their order; NaN counts as the largest.
 */
export const enum SortField {
  /** `Rows` rows of `Count` elements. */
  Out = 1,
  In = 2,
  Rows = 3,
  Length = 4,
  First = 5,
  Count = 6,
  /** 1 for f32, 0 for i32. */
  Float = 7,
  /** 1 where the largest element comes first. */
  Descending = 8,
  /** Address of `2 · SortPair.Bytes · max(Count, min(Length, SortPair.Few))` bytes for each thread. */
  Workspace = 9,
  /** Bytes of one thread's part of the workspace. */
  WorkspaceBytes = 10,
}

/** What a Sort moves about: a place, and above it the key of the element there. */
export const enum SortPair {
  Bytes = 8,
  /** Rows of up to this many elements are sorted by insertion. */
  Few = 32,
}

/**
 * ChannelNorm: [Batch, Channels, Area] tensors, row-major, moved to mean 0 and variance 1 over sets of planes: those of
 * one channel (batch norm), or of the channels of one group in one sample (group norm).
 */
export const enum ChannelNormField {
  /** A `ChannelNormMode`. */
  Mode = 1,
  Out = 2,
  In = 3,
  /**
   * The mean of every set, then the variance of every set, biased: what `ChannelNormMode.Moments` writes. Not for
   * `ChannelNormMode.GroupNorm`.
   */
  Moments = 4,
  /** As `In`: the gradient of what is normalized; for gradients only. */
  Gradient = 5,
  /** `Channels` floats; not for moments nor the gradient of the weight. */
  Weight = 6,
  /** `Channels` floats; only for `ChannelNormMode.Normalize` and `GroupNorm`. */
  Bias = 7,
  Batch = 8,
  Channels = 9,
  Area = 10,
  /** Groups that the channels of each sample are in; 0 where sets are channels. */
  Groups = 11,
  /** The bits of an f32, added to variances. */
  Epsilon = 12,
}

/** What a ChannelNorm computes, with x̂ = (x - mean) / √(variance + epsilon). */
export const enum ChannelNormMode {
  Moments = 0,
  /** x̂·weight + bias */
  Normalize = 1,
  /** The gradient of the input, which also goes through the moments. */
  Gradient = 2,
  /** Σ gradient·x̂ for every channel. */
  WeightGradient = 3,
  /** `Moments` and `Normalize` in one: groups lie in a row, and so in a cache from the first to the second. */
  GroupNorm = 4,
}

/** Why a program stopped early: the words of the status record that the interpreter leaves. */
export const enum StatusField {
  /** Byte offset of the instruction within the program. */
  Instruction = 0,
  /** The index that is out of range. */
  Value = 1,
  /** Length in words. */
  Length = 2,
}
