// One fetch wrapper for the REST API: adds the token, turns problem details into ApiError.
import { formatOf } from "../format";
import { sendInPieces } from "./pieces";
import type { components } from "./schema";

export type Schemas = components["schemas"];
export type Problem = Schemas["Problem"];

const kTokenKey = "goldlink.token";

export const session = {
    token: (): string | null => sessionStorage.getItem(kTokenKey),
    begin: (token: string) => sessionStorage.setItem(kTokenKey, token),
    end: () => sessionStorage.removeItem(kTokenKey),
};

export class ApiError extends Error {
    constructor(readonly problem: Problem) {
        super(problem.detail || problem.title);
    }
}

export function problemOf(status: number, body: string): Problem {
    try {
        const parsed = JSON.parse(body) as Partial<Problem>;
        if (typeof parsed.detail === "string" && typeof parsed.title === "string")
            return { type: "unknown", status, ...parsed } as Problem;
    } catch {
        // not JSON: a proxy's page, or nothing
    }
    return {
        type: "unreadable-answer",
        title: `The server answered ${status}`,
        status,
        detail: `The server answered ${status} without saying why. Look at its log.`,
    };
}

export function authorization(): Record<string, string> {
    const token = session.token();
    return token ? { Authorization: `Bearer ${token}` } : {};
}

export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
    let response: Response;
    try {
        response = await fetch(`/api/v1${path}`, {
            method,
            headers: {
                ...authorization(),
                ...(body === undefined ? {} : { "Content-Type": "application/json" }),
            },
            ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        });
    } catch {
        throw new ApiError({
            type: "unreachable",
            title: "The server does not answer",
            status: 0,
            detail: "The manager does not answer. PCs that are running go on; check that goldlink runs and that this network reaches it.",
        });
    }
    const text = await response.text();
    if (!response.ok) throw new ApiError(problemOf(response.status, text));
    return (text ? JSON.parse(text) : undefined) as T;
}

// One piece through XMLHttpRequest, which unlike fetch reports how much has been sent.
function putPiece(path: string, piece: Blob, onProgress: (sentBytes: number) => void, request: XMLHttpRequest): Promise<void> {
    return new Promise((resolve, reject) => {
        request.open("PUT", `/api/v1${path}`);
        request.setRequestHeader("Content-Type", "application/octet-stream");
        for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
        request.upload.onprogress = (event) => onProgress(event.loaded);
        request.onload = () =>
            request.status >= 200 && request.status < 300
                ? resolve()
                : reject(new ApiError(problemOf(request.status, request.responseText)));
        const broken = (type: string, title: string, detail: string) => () =>
            reject(new ApiError({ type, title, status: 0, detail }));
        request.onerror = broken("upload-broken", "The upload broke off", "The connection was lost before the file had arrived. Try again.");
        request.onabort = broken("upload-cancelled", "Upload cancelled", "The upload was cancelled; nothing of it is kept.");
        request.send(piece);
    });
}

// A lost connection, a server that restarts, a piece whose predecessor is not given up yet.
function mayPass(problem: unknown): boolean {
    if (!(problem instanceof ApiError)) return false;
    const { type, status } = problem.problem;
    if (type === "upload-ended") return false; // the server says why: no import could take it
    return type === "upload-broken" || type === "unreachable" || [409, 503, 504].includes(status);
}

export function upload(
    image: string,
    file: File,
    note: string,
    onProgress: (sentBytes: number) => void,
): { done: Promise<Schemas["Task"]>; cancel: () => void } {
    let request = new XMLHttpRequest();
    let begun: Schemas["Upload"] | null = null;
    let cancelled = false;
    const giveUp = () => {
        if (begun) void call("DELETE", `/tasks/${begun.id}`).catch(() => undefined);
    };
    const run = async () => {
        const format = formatOf(file.name);
        begun = await call<Schemas["Upload"]>("POST", `/images/${encodeURIComponent(image)}/uploads`, {
            files: [{ name: file.name, size_bytes: file.size }],
            note,
            ...(format ? { format } : {}),
        });
        const path = `/uploads/${begun.id}`;
        await sendInPieces(file.size, {
            send: (offset, end) => {
                request = new XMLHttpRequest();
                const sent = putPiece(
                    `${path}/files/${encodeURIComponent(file.name)}?offset=${offset}`,
                    file.slice(offset, end),
                    (bytes) => onProgress(offset + bytes),
                    request,
                );
                if (cancelled) request.abort();
                return sent;
            },
            received: async () => {
                const now = await call<Schemas["Upload"]>("GET", path);
                return now.files[0]?.received_bytes ?? 0;
            },
            mayPass: (problem) => !cancelled && mayPass(problem),
            pause: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
        });
        return call<Schemas["Task"]>("POST", `${path}/finish`);
    };
    const done = run().catch((problem: unknown) => {
        giveUp();
        throw problem;
    });
    return {
        done,
        cancel: () => {
            cancelled = true;
            request.abort();
        },
    };
}
