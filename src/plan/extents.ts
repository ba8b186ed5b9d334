/** What placement computes on. */

/** Pieces of memory and when they are alive, `first` to `last`, both included. */
export interface Extents {
  readonly bytes: Float64Array;
  readonly first: Float64Array;
  readonly last: Float64Array;
}

/** Where each extent begins, and where the last one ends. */
export interface Placement {
  readonly offsets: Float64Array;
  readonly total: number;
}
