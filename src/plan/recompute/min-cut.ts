/**
 * Minimum cuts of networks, by blocking flows on layers (Dinic, "Algorithm for solution of a problem of maximum flow in
 * networks with power estimation", 1970).
 */

/** Nodes that are numbers, and edges with capacities: whole numbers that add up to less than 2⁵³, so that sums are exact. */
export class Network {
  private readonly first: Int32Array;
  private readonly level: Int32Array;
  private readonly queue: Int32Array;
  /** The edge at which each node goes on while ways are blocked. */
  private readonly at: Int32Array;
  // Edges in pairs, one and its reverse: the next one from the same node, where it leads, and what can still flow.
  private readonly next: number[] = [];
  private readonly to: number[] = [];
  private readonly left: number[] = [];

  constructor(nodes: number) {
    this.first = new Int32Array(nodes).fill(-1);
    this.level = new Int32Array(nodes);
    this.queue = new Int32Array(nodes);
    this.at = new Int32Array(nodes);
  }

  /** Adds an edge without any capacity; returns its number. */
  add(from: number, to: number): number {
    const edge = this.half(from, to);
    this.half(to, from);
    return edge;
  }

  private half(from: number, to: number): number {
    this.next.push(this.first[from] as number);
    this.first[from] = this.to.length;
    this.left.push(0);
    return this.to.push(to) - 1;
  }

  /** Gives an edge a capacity, and takes back what flows through it: to be done with every edge before {@link flow}. */
  set(edge: number, capacity: number): void {
    this.left[edge] = capacity;
    this.left[edge + 1] = 0;
  }

  /** Sends all that can flow, which is the capacity of the least cut. */
  flow(source: number, sink: number): number {
    let total = 0;
    while (this.layer(source, sink)) total += this.block(source, sink);
    return total;
  }

  /** After {@link flow}: whether a node is on the source's side of the least cut. */
  isReached(node: number): boolean {
    return this.level[node] !== -1;
  }

  /** Numbers the nodes by how far they are from the source; whether the sink is reached. */
  private layer(source: number, sink: number): boolean {
    const { first, left, level, next, queue } = this;
    level.fill(-1);
    level[source] = 0;
    queue[0] = source;
    for (let [done, length] = [0, 1]; done < length; done++) {
      const node = queue[done] as number;
      for (let edge = first[node] as number; edge !== -1; edge = next[edge] as number) {
        const to = this.to[edge] as number;
        if (left[edge] === 0 || level[to] !== -1) continue;
        level[to] = (level[node] as number) + 1;
        queue[length++] = to;
      }
    }
    return level[sink] !== -1;
  }

  /** Sends flow from layer to layer until every way is blocked. */
  private block(source: number, sink: number): number {
    const { at, left } = this;
    at.set(this.first);
    const path: number[] = [];
    let total = 0;
    let node = source;
    for (;;) {
      if (node === sink) {
        let most = Number.POSITIVE_INFINITY;
        for (const edge of path) most = Math.min(most, left[edge] as number);
        total += most;
        let full = path.length;
        for (let i = path.length - 1; i >= 0; i--) {
          const edge = path[i] as number;
          (left[edge] as number) -= most;
          (left[edge ^ 1] as number) += most;
          if (left[edge] === 0) full = i;
        }
        path.length = full;
        node = path.length === 0 ? source : (this.to[path.at(-1) as number] as number);
        continue;
      }
      let edge = at[node] as number;
      while (edge !== -1 && !this.descends(node, edge)) edge = this.next[edge] as number;
      at[node] = edge;
      if (edge !== -1) {
        path.push(edge);
        node = this.to[edge] as number;
        continue;
      }
      const back = path.pop();
      if (back === undefined) return total;
      this.level[node] = -1;
      node = this.to[back ^ 1] as number;
    }
  }

  private descends(node: number, edge: number): boolean {
    return this.left[edge] !== 0 && this.level[this.to[edge] as number] === (this.level[node] as number) + 1;
  }
}
