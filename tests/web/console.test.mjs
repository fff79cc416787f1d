// An admin's first ten minutes in Chromium, against a real `goldlink up`: sign in, upload an image,
// add a client that boots it, see it in the room and its link served by the target.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

const { chromium } = createRequire(new URL("../../web/package.json", import.meta.url))("playwright-core");
const kStartMs = 120_000;

let state, server, url, token, browser, page;
const log = [];

function freePort() {
    return new Promise((resolve, reject) => {
        const socket = createServer();
        socket.once("error", reject);
        socket.listen(0, "127.0.0.1", () => {
            const { port } = socket.address();
            socket.close(() => resolve(port));
        });
    });
}

function startServer(args) {
    server = spawn(join(process.env.GOLDLINK_BIN, "goldlink"), ["up", ...args], { stdio: ["ignore", "pipe", "pipe"] });
    server.stderr.on("data", (bytes) => log.push(String(bytes)));
    return new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`goldlink up was not ready in time:\n${log.join("")}`)), kStartMs);
        let out = "";
        server.stdout.on("data", (bytes) => {
            out += bytes;
            const ready = /^ready (\S+)$/m.exec(out);
            if (!ready) return;
            clearTimeout(late);
            resolve(ready[1]);
        });
        server.once("exit", (code) => reject(new Error(`goldlink up ended with ${code}:\n${log.join("")}`)));
    });
}

before(async () => {
    state = await mkdtemp(join(tmpdir(), "goldlink-web-"));
    const [listen, portal] = [await freePort(), await freePort()];
    url = await startServer(["--state-dir", state, "--listen", `127.0.0.1:${listen}`, "--portal", `127.0.0.1:${portal}`]);
    token = (await readFile(join(state, "admin.token"), "utf8")).trim();
    browser = await chromium.launch({
        executablePath: "/usr/bin/chromium",
        args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync"],
    });
    page = await browser.newPage({ viewport: { width: 1200, height: 800 } });
    page.setDefaultTimeout(60_000);
});

after(async () => {
    await browser?.close();
    if (server && server.exitCode === null) {
        const ended = new Promise((resolve) => server.once("exit", resolve));
        server.kill("SIGTERM");
        await ended;
    }
    if (state) await rm(state, { recursive: true, force: true });
});

test("a wrong token is refused in words", async () => {
    await page.goto(url);
    await page.getByLabel("Access token").fill("not-a-token");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    assert.match(await page.getByRole("alert").innerText(), /token/i);
});

test("sign in, upload an image, add a client and see it", async () => {
    await page.getByLabel("Access token").fill(token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Room" }).waitFor();
    await page.getByText("live", { exact: true }).waitFor();

    // A disk of 3 MiB with a boot signature and some content.
    const disk = Buffer.alloc(3 * 1024 * 1024);
    for (let i = 1024; i < 512 * 1024; i += 1) disk[i] = (i * 7) % 251;
    disk[510] = 0x55;
    disk[511] = 0xaa;
    const file = join(state, "school pc.img");
    await writeFile(file, disk);
    await page.getByRole("link", { name: "Images" }).click();
    await page.getByRole("button", { name: "Upload an image" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel(/Disk image/).setInputFiles(file);
    assert.equal(await dialog.getByLabel("Image name").inputValue(), "school-pc");
    await dialog.getByRole("button", { name: "Upload" }).click();
    await dialog.getByText("is ready").waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();
    const card = page.getByRole("article", { name: "school-pc" });
    await card.getByText("school-pc@1").waitFor();
    await card.getByText("production").waitFor();

    await page.getByRole("link", { name: "Room" }).click();
    await page.getByRole("button", { name: "Add a client" }).click();
    await page.getByLabel("Name").fill("PC-001");
    await page.getByLabel("MAC address").fill("52-54-00-AA-BB-01");
    await page.getByRole("dialog").getByLabel("Image").selectOption("school-pc:production");
    await page.getByRole("button", { name: "Add", exact: true }).click();
    const row = page.getByRole("row", { name: /PC-001/ });
    await row.getByText("52:54:00:aa:bb:01").waitFor();
    await row.getByText("never booted").waitFor();

    await page.getByRole("link", { name: "Links" }).click();
    await page.getByRole("row", { name: /PC-001/ }).getByText("ready").waitFor();
});

test("what does not work is said on every page, with the way out", async () => {
    await page.route("**/api/v1/status", async (route) => {
        const answer = await route.fetch();
        const problems = [
            { source: "storage", problem: "the overlays' disk failed", to_do: "mount it again" },
            { source: "registry", problem: "has its own notice", to_do: "" },
        ];
        await route.fulfill({ response: answer, json: { ...(await answer.json()), health: "degraded", problems } });
    });
    await page.reload();
    const notice = page.getByRole("alert").filter({ hasText: "Something needs you" });
    await notice.getByText("the overlays' disk failed").waitFor();
    await notice.getByText("To do: mount it again").waitFor();
    assert.equal(await notice.getByText("has its own notice").count(), 0);
    await page.unroute("**/api/v1/status");
    await page.reload();
    await page.getByRole("heading", { name: "Links" }).waitFor();
    assert.equal(await notice.count(), 0);
});

test("a MAC given twice is refused and names who has it", async () => {
    await page.getByRole("link", { name: "Room" }).click();
    await page.getByRole("button", { name: "Add a client" }).click();
    await page.getByLabel("Name").fill("PC-002");
    await page.getByLabel("MAC address").fill("52:54:00:aa:bb:01");
    await page.getByRole("button", { name: "Add", exact: true }).click();
    await page.getByRole("dialog").getByRole("alert").getByText("belongs to PC-001").waitFor();
    await page.getByRole("button", { name: "Cancel" }).click();
});

async function ask(method, path, body) {
    const answer = await fetch(`${url}/api/v1${path}`, {
        method,
        headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
    return JSON.parse(text);
}

test("what nobody wants is shown first, and then its space comes back", async () => {
    const upload = async (seed) => {
        const disk = Buffer.alloc(1024 * 1024);
        for (let i = 1024; i < disk.length; i += 1) disk[i] = (i * seed) % 251;
        const answer = await fetch(`${url}/api/v1/images/tidy/content?format=raw`, {
            method: "PUT", headers: { Authorization: `Bearer ${token}`, "Content-Length": String(disk.length) }, body: disk,
        });
        assert.equal(answer.status, 202);
        let task = await answer.json();
        while (task.state === "queued" || task.state === "running") task = await ask("GET", `/tasks/${task.id}`);
        assert.equal(task.state, "done");
    };
    for (const seed of [3, 5, 11]) await upload(seed);
    await page.getByRole("link", { name: "Images" }).click();
    await page.getByRole("button", { name: "Give space back" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Old versions of images").selectOption("1");
    await dialog.getByRole("row", { name: /version tidy@2/ }).getByText("superseded").waitFor();
    await dialog.getByText("would come back").waitFor();
    await dialog.getByRole("button", { name: "Give back" }).click();
    await dialog.getByText("came back").waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();
    const card = page.getByRole("article", { name: "tidy" });
    await card.getByText("tidy@3", { exact: true }).waitFor();
    await card.getByText("tidy@2", { exact: true }).waitFor({ state: "detached" });
    await card.getByText("tidy@1", { exact: true }).waitFor();
});

test("a disc is uploaded as one, and a client that installs from it is told when it is done", async () => {
    const disc = Buffer.alloc(300 * 2048);
    disc.write("\u0001CD001\u0001", 16 * 2048, "latin1");
    const file = join(state, "setup.iso");
    await writeFile(file, disc);
    await page.getByRole("link", { name: "Images" }).click();
    await page.getByRole("button", { name: "Upload an image" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel(/Disk image/).setInputFiles(file);
    await dialog.getByRole("button", { name: "Upload" }).click();
    await dialog.getByText("is ready").waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();
    await page.getByRole("article", { name: "setup" }).getByText("disc", { exact: true }).waitFor();

    await ask("POST", "/clients", { name: "PC-009", macs: ["52:54:00:aa:bb:09"] });
    await ask("POST", "/links", {
        client: "PC-009", image: "school-pc", policy: "super", install: true, disks: [{ lun: 1, image: "setup" }],
    });
    await page.getByRole("link", { name: "Links" }).click();
    const row = page.getByRole("row", { name: /PC-009/ });
    await row.getByText("CD-ROM", { exact: true }).waitFor();
    await row.getByText("starts its CD-ROM").waitFor();
    await row.getByRole("button", { name: "Installed" }).click();
    await row.getByRole("button", { name: "Install", exact: true }).waitFor();
    assert.equal(await row.getByText("starts its CD-ROM").count(), 0);
    const shown = (await ask("GET", "/links?client=PC-009")).items[0];
    assert.equal(shown.install, false);
});

test("a disk that keeps its changes is shown a newer version and started from it", async () => {
    const { id } = await ask("POST", "/images/school-pc/grow", { size_bytes: 4 * 1024 * 1024, channel: "production" });
    for (let state = ""; state !== "done"; ) {
        ({ state } = await ask("GET", `/tasks/${id}`));
        assert.ok(["queued", "running", "done"].includes(state), state);
    }
    await page.reload();
    const row = page.getByRole("row", { name: /PC-009/ });
    await row.getByRole("button", { name: "production is @2" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("everything PC-009 wrote to it is dropped").waitFor();
    await dialog.getByText("no block", { exact: true }).waitFor();
    await dialog.getByRole("button", { name: "Start fresh" }).click();
    await dialog.getByText("the disk starts from school-pc@2").waitFor();
    await dialog.getByRole("button", { name: "Done" }).click();
    await row.getByText("school-pc@2").waitFor();
    assert.equal(await row.getByRole("button", { name: "production is @2" }).count(), 0);
});

test("a disk's quota is set, and counts at the target", async () => {
    const row = page.getByRole("row", { name: /PC-009/ });
    await row.getByRole("button", { name: "Quota" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel(/Quota in GiB/).fill("lots");
    await dialog.getByText("Write a number of GiB").waitFor();
    await dialog.getByLabel(/Quota in GiB/).fill("2");
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.waitFor({ state: "detached" });
    await row.getByText("of 2.0 GiB").waitFor();
    assert.equal((await ask("GET", "/links?client=PC-009")).items[0].disks[0].quota_bytes, 2 * 1024 ** 3);
});

test("what a removed link had kept is in the trash, and given back from there", async () => {
    const { id, url: disk } = (await ask("GET", "/links?client=PC-009")).items[0];
    const wrote = spawnSync("qemu-io", ["-f", "raw", "-c", "write -P 0x5a 1M 64k", "-c", "flush", disk], { encoding: "utf8" });
    assert.equal(wrote.status, 0, wrote.stdout + wrote.stderr);
    page.once("dialog", (question) => {
        assert.match(question.message(), /stays in the trash/);
        void question.accept();
    });
    await page.getByRole("button", { name: "Remove the link of PC-009" }).click();
    await page.getByRole("row", { name: /PC-009/ }).waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Trash" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("row", { name: /PC-009/ }).getByText("school-pc@2, super").waitFor();
    await dialog.getByRole("button", { name: "Restore the disk of PC-009" }).click();
    await dialog.getByText("The trash is empty").waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();
    await page.getByRole("row", { name: /PC-009/ }).getByText("ready").waitFor();
    const back = (await ask("GET", "/links?client=PC-009")).items[0];
    assert.equal(back.id, id);
    const read = spawnSync("qemu-io", ["-r", "-f", "raw", "-c", "read -P 0x5a 1M 64k", back.url], { encoding: "utf8" });
    assert.doesNotMatch(read.stdout + read.stderr, /verification failed/i);
});
