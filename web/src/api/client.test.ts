import { describe, expect, it } from "vitest";
import { problemOf } from "./client";

describe("problemOf", () => {
    it("keeps the server's own words", () => {
        const problem = problemOf(409, '{"type":"image-in-use","title":"In use","detail":"PC-001 boots it","status":409}');
        expect(problem.type).toBe("image-in-use");
        expect(problem.detail).toBe("PC-001 boots it");
    });
    it("says something readable of an answer that is no problem document", () => {
        for (const body of ["", "<html>bad gateway</html>", "[]", '{"detail":3}'])
            expect(problemOf(502, body).detail).toContain("502");
    });
});
