import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Every graph and program that a test makes is verified between passes.
    env: { LANEGRAD_CHECK: "1" },
    testTimeout: 120_000,
  },
});
