import { expect, it } from "vitest";
import { size } from "../../bench/size.js";

it("a page that trains loads no more than the budgets of JavaScript and of kernels", async () => {
  const { rows, failures } = await size();
  expect(failures).toEqual([]);
  expect(rows.map(({ what }) => what)).toContain("JavaScript to train an MLP");
});
