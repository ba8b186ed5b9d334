import { describe, expect, it } from "vitest";
import { mnist } from "../../src/data/index.js";

describe("a pair of IDX arrays", () => {
  const images = { shape: [2, 1, 1], data: Uint8Array.of(0, 255) };

  it("must be images and labels of digits", () => {
    const labels = { shape: [2], data: Uint8Array.of(3, 4) };
    expect([...mnist(images, labels).images.data]).toEqual([0, 1]);
    expect(() => mnist(labels, labels)).toThrow(
      "images: MNIST images are bytes of shape [count,rows,columns], and these are Uint8 of shape [2]",
    );
    expect(() => mnist(images, images)).toThrow(
      "labels: MNIST labels are bytes of shape [count], and these are Uint8 of shape [2,1,1]",
    );
    expect(() => mnist(images, { shape: [2], data: Int32Array.of(1, 2) })).toThrow("these are Int32 of shape [2]");
    expect(() => mnist(images, { shape: [2], data: Uint8Array.of(1, 10) })).toThrow(
      "label 1 is 10, and digits go from 0 to 9",
    );
  });
});
