import { describe, expect, it } from "vitest";
import { SseParser } from "./events";

describe("SseParser", () => {
    it("joins messages that arrive in pieces", () => {
        const parser = new SseParser();
        expect(parser.push("id: 7\nda")).toEqual([]);
        expect(parser.push('ta: {"a":1}\n\nid: 8\n')).toEqual([{ id: "7", data: '{"a":1}' }]);
        expect(parser.push("data: x\ndata: y\n\n")).toEqual([{ id: "8", data: "x\ny" }]);
    });
    it("passes over heartbeats and other fields", () => {
        expect(new SseParser().push(": still here\n\nevent: e\nretry: 1\n\n")).toEqual([]);
    });
    it("takes CRLF", () => {
        expect(new SseParser().push("id:1\r\ndata:z\r\n\r\n")).toEqual([{ id: "1", data: "z" }]);
    });
});
