// Live events over SSE, read with fetch because EventSource cannot send a bearer token.
// Reconnects with the last id it saw, so nothing is lost while the server restarts.
import { authorization, type Schemas } from "./client";

export type Event = Schemas["Event"];

// Splits an SSE stream into messages; kept apart from the network so that it can be tested.
export class SseParser {
    private rest = "";

    push(chunk: string): { id: string | null; data: string }[] {
        this.rest += chunk;
        const messages: { id: string | null; data: string }[] = [];
        for (;;) {
            const end = /\r?\n\r?\n/.exec(this.rest);
            if (!end) return messages;
            const block = this.rest.slice(0, end.index);
            this.rest = this.rest.slice(end.index + end[0].length);
            let id: string | null = null;
            const data: string[] = [];
            for (const line of block.split(/\r?\n/)) {
                const match = /^(id|data): ?(.*)$/.exec(line);
                if (match?.[1] === "id") id = match[2] ?? null;
                if (match?.[1] === "data") data.push(match[2] ?? "");
            }
            if (data.length > 0) messages.push({ id, data: data.join("\n") });
        }
    }
}

export function followEvents(
    onEvent: (event: Event) => void,
    onConnected: (connected: boolean) => void,
): () => void {
    const stop = new AbortController();
    let lastId: string | null = null;

    const readOnce = async () => {
        const response = await fetch("/api/v1/events", {
            headers: {
                ...authorization(),
                Accept: "text/event-stream",
                ...(lastId === null ? {} : { "Last-Event-ID": lastId }),
            },
            signal: stop.signal,
        });
        if (!response.ok || !response.body) throw new Error(`events: ${response.status}`);
        onConnected(true);
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        const parser = new SseParser();
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return;
            for (const message of parser.push(value)) {
                if (message.id !== null) lastId = message.id;
                onEvent(JSON.parse(message.data) as Event);
            }
        }
    };

    void (async () => {
        while (!stop.signal.aborted) {
            try {
                await readOnce();
            } catch {
                // reconnect below
            }
            if (stop.signal.aborted) return;
            onConnected(false);
            await new Promise((resolve) => setTimeout(resolve, 2000));
        }
    })();
    return () => stop.abort();
}
