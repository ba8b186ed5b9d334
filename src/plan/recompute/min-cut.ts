/**
 * Minimum cuts of networks, by blocking flows on layers (Dinic, "Algorithm for solution of a problem of maximum flow in
 * networks with power estimation", 1970).
 */

/** Nodes that are numbers, and edges with capacities: whole numbers that add up to less than 2⁵³, so that sums are exact. */
export class Network {
  private readonly first: Int32Array;
  private readonly level: Int32Array;
  // Edges in pairs, one and its reverse: the next one from the same node, where it leads, and what can still flow.
  private readonly next: number[] = [];
  private readonly to: number[] = [];
  private readonly left: number[] = [];

  constructor(nodes: number) {
    this.first = new Int32Array(nodes).fill(-1);
    this.level = new Int32Array(nodes);
  }

  add(from: number, to: number, capacity: number): void {
    this.half(from, to, capacity);
    this.half(to, from, 0);
  }

  private half(from: number, to: number, capacity: number): void {
    this.next.push(this.first[from] as number);
    this.first[from] = this.to.length;
    this.to.push(to);
    this.left.push(capacity);
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
    this.level.fill(-1);
    this.level[source] = 0;
    const queue = [source];
    for (const node of queue) {
      for (let edge = this.first[node] as number; edge !== -1; edge = this.next[edge] as number) {
        const to = this.to[edge] as number;
        if (this.left[edge] === 0 || this.level[to] !== -1) continue;
        this.level[to] = (this.level[node] as number) + 1;
        queue.push(to);
      }
    }
    return this.level[sink] !== -1;
  }

  /** Sends flow from layer to layer until every way is blocked. */
  private block(source: number, sink: number): number {
    const at = this.first.slice();
    const path: number[] = [];
    let total = 0;
    let node = source;
    for (;;) {
      if (node === sink) {
        const most = path.reduce((least, edge) => Math.min(least, this.left[edge] as number), Number.POSITIVE_INFINITY);
        total += most;
        for (const edge of path) {
          (this.left[edge] as number) -= most;
          (this.left[edge ^ 1] as number) += most;
        }
        path.length = path.findIndex((edge) => this.left[edge] === 0);
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
