/** `lanegrad/io`: files that weights are kept in. */

export { decodeSafetensors, encodeSafetensors, type SafetensorsFile } from "./safetensors.js";
