// Sends a file in pieces, going on where it was after a broken connection. Pure: how a piece is sent,
// how much has arrived and how long to wait are given.
export const kPieceBytes = 32 * 1024 * 1024;
const kMaxTries = 10; // without any byte getting through
const kFirstPauseMs = 250;
const kLongestPauseMs = 8000;

export interface Sender {
    send: (offset: number, end: number) => Promise<void>;
    received: () => Promise<number>; // rejects like send
    mayPass: (problem: unknown) => boolean; // worth another try
    pause: (milliseconds: number) => Promise<void>;
}

export async function sendInPieces(size: number, sender: Sender): Promise<void> {
    let tries = 0;
    for (let offset = 0; offset < size; ) {
        const end = Math.min(offset + kPieceBytes, size);
        try {
            await sender.send(offset, end);
            offset = end;
            tries = 0;
        } catch (problem) {
            for (;;) {
                tries += 1;
                if (!sender.mayPass(problem) || tries >= kMaxTries) throw problem;
                await sender.pause(Math.min(kFirstPauseMs * 2 ** (tries - 1), kLongestPauseMs));
                const there = await sender.received().catch((away: unknown) => {
                    if (!sender.mayPass(away)) throw away;
                    return null;
                });
                if (there === null) continue;
                if (there > offset) tries = 0;
                offset = there;
                break;
            }
        }
    }
}
