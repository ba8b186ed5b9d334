/** The walls between rooms: see docs/architecture.md. `npm run lint` checks them. */
const room = (name) => `^src/${name}/`;
/** Rooms from the top down; none imports from a room above it. */
const ROOMS = ["cli", "profile", "nn", "optim", "tensor", "transforms", "runtime", "plan", "ops", "graph"];
module.exports = {
  forbidden: [
    { name: "no-circular", severity: "error", from: {}, to: { circular: true } },
    { name: "no-orphans", severity: "error", from: { orphan: true, path: "^src" }, to: {} },
    ...ROOMS.slice(1).map((name, i) => ({
      name: `${name}-looks-down`,
      severity: "error",
      from: { path: room(name) },
      to: {
        path: ROOMS.slice(0, i + 1)
          .map(room)
          .join("|"),
      },
    })),
    {
      name: "core-has-no-dependencies",
      severity: "error",
      from: { path: "^src", pathNot: "^src/cli/" },
      to: { dependencyTypes: ["npm", "npm-dev", "npm-optional", "npm-no-pkg"] },
    },
  ],
  options: {
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    doNotFollow: { path: "node_modules" },
  },
};
