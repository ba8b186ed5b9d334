/** The errors that lanegrad throws, one class for each kind of mistake. */

/** Shapes that do not fit an operator, or a dimension out of range. */
export class ShapeError extends Error {
  override name = "ShapeError";
}

/** A dtype that an operator does not take. */
export class DTypeError extends Error {
  override name = "DTypeError";
}

/** An argument whose value, other than by shape or dtype, is not allowed. */
export class ArgumentError extends Error {
  override name = "ArgumentError";
}

/** An index in a tensor that lies outside the dimension it selects from. */
export class IndexError extends Error {
  override name = "IndexError";
}

/** A gradient that was asked for and has no meaning. */
export class GradError extends Error {
  override name = "GradError";
}

/** A tensor used where its value cannot be known: inside a trace, or outside of the trace that made it. */
export class TraceError extends Error {
  override name = "TraceError";
}

/** A program that does not fit the arena. */
export class ArenaError extends Error {
  override name = "ArenaError";
}

/** A file that is not what its format says: truncated, inconsistent or of another kind. */
export class FormatError extends Error {
  override name = "FormatError";
}
