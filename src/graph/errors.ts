/**
 * The errors that lanegrad throws, one class for each kind of mistake. Minifiers rename classes, and engines print the
 * name of the class beside that of the error: so both are written out.
 */

/** Shapes that do not fit an operator, or a dimension out of range. */
export class ShapeError extends Error {
  static override readonly name = "ShapeError";
  override name = "ShapeError";
}

/** A dtype that an operator does not take. */
export class DTypeError extends Error {
  static override readonly name = "DTypeError";
  override name = "DTypeError";
}

/** An argument whose value, other than by shape or dtype, is not allowed. */
export class ArgumentError extends Error {
  static override readonly name = "ArgumentError";
  override name = "ArgumentError";
}

/** An index in a tensor that lies outside the dimension it selects from. */
export class IndexError extends Error {
  static override readonly name = "IndexError";
  override name = "IndexError";
}

/** A gradient that was asked for and has no meaning. */
export class GradError extends Error {
  static override readonly name = "GradError";
  override name = "GradError";
}

/** A tensor used where its value cannot be known: inside a trace, or outside of the trace that made it. */
export class TraceError extends Error {
  static override readonly name = "TraceError";
  override name = "TraceError";
}

/** A program that does not fit the arena. */
export class ArenaError extends Error {
  static override readonly name = "ArenaError";
  override name = "ArenaError";
}

/** A file that is not what its format says: truncated, inconsistent or of another kind. */
export class FormatError extends Error {
  static override readonly name = "FormatError";
  override name = "FormatError";
}
