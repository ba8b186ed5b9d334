import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Every graph and program that a test makes is verified between passes.
    env: { LANEGRAD_CHECK: "1" },
    testTimeout: 120_000,
    // The main process mostly waits, so its core can test as well; the default leaves it idle.
    maxWorkers: "100%",
  },
});
