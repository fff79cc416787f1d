// One fetch wrapper for the REST API: adds the token, turns problem details into ApiError.
import { formatOf } from "../format";
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

// Uploads through XMLHttpRequest, which unlike fetch reports how much has been sent.
export function upload(
    image: string,
    file: File,
    note: string,
    onProgress: (sentBytes: number) => void,
): { done: Promise<Schemas["Task"]>; cancel: () => void } {
    const request = new XMLHttpRequest();
    const done = new Promise<Schemas["Task"]>((resolve, reject) => {
        const query = new URLSearchParams({ filename: file.name, note });
        const format = formatOf(file.name);
        if (format) query.set("format", format);
        request.open("PUT", `/api/v1/images/${encodeURIComponent(image)}/content?${query}`);
        request.setRequestHeader("Content-Type", "application/octet-stream");
        for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
        request.upload.onprogress = (event) => onProgress(event.loaded);
        request.onload = () =>
            request.status >= 200 && request.status < 300
                ? resolve(JSON.parse(request.responseText) as Schemas["Task"])
                : reject(new ApiError(problemOf(request.status, request.responseText)));
        const broken = (title: string, detail: string) => () =>
            reject(new ApiError({ type: "upload-broken", title, status: 0, detail }));
        request.onerror = broken("The upload broke off", "The connection was lost before the file had arrived. Try again.");
        request.onabort = broken("Upload cancelled", "The upload was cancelled; nothing of it is kept.");
        request.send(file);
    });
    return { done, cancel: () => request.abort() };
}
