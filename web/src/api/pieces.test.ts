import { expect, test } from "vitest";
import { kPieceBytes, sendInPieces, type Sender } from "./pieces";

function sender(fails: (offset: number) => number | null): Sender & { sent: number[]; pauses: number[]; there: number } {
    const state = {
        sent: [] as number[],
        pauses: [] as number[],
        there: 0,
        send: (offset: number, end: number) => {
            state.sent.push(offset);
            const arrived = fails(offset);
            state.there = arrived ?? end;
            return arrived === null ? Promise.resolve() : Promise.reject(new Error("lost"));
        },
        received: () => Promise.resolve(state.there),
        mayPass: (problem: unknown) => (problem as Error).message === "lost",
        pause: (milliseconds: number) => {
            state.pauses.push(milliseconds);
            return Promise.resolve();
        },
    };
    return state;
}

test("a file is sent piece by piece", async () => {
    const to = sender(() => null);
    await sendInPieces(2 * kPieceBytes + 5, to);
    expect(to.sent).toEqual([0, kPieceBytes, 2 * kPieceBytes]);
    expect(to.there).toBe(2 * kPieceBytes + 5);
});

test("a broken piece goes on where it was", async () => {
    let breaks = 2;
    const to = sender((offset) => (breaks-- > 0 ? offset + 100 : null));
    await sendInPieces(1000, to);
    expect(to.sent).toEqual([0, 100, 200]);
    expect(to.pauses).toEqual([250, 250]);
});

test("it is not tried for ever", async () => {
    const to = sender((offset) => offset);
    await expect(sendInPieces(1000, to)).rejects.toThrow("lost");
    expect(to.sent.length).toBe(10);
    expect(Math.max(...to.pauses)).toBe(8000);
});

test("what another try cannot mend is told at once", async () => {
    const to = sender(() => null);
    to.send = () => Promise.reject(new Error("no space"));
    await expect(sendInPieces(1000, to)).rejects.toThrow("no space");
    expect(to.pauses).toEqual([]);
});
