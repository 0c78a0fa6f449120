// A task by imapflow (https://imapflow.com): node imapflow_task.js DIRECTORY-OF-IMAPFLOW PORT, answers with one line of JSON.
const { createRequire } = require("node:module");
const [, , directory, port] = process.argv;
const { ImapFlow } = createRequire(directory + "/")("imapflow");

const options = {
    host: "127.0.0.1",
    port: Number(port),
    secure: false,
    doSTARTTLS: false,
    auth: { user: "joe", pass: "secret" },
    logger: false,
};

async function told(client, name) {
    return new Promise((resolve) => client.once(name, resolve));
}

async function main() {
    const client = new ImapFlow(options);
    await client.connect();
    const result = { capabilities: [...client.capabilities.keys()] };
    await client.mailboxCreate("Moved");
    await client.mailboxOpen("INBOX");
    result.exists = client.mailbox.exists;
    result.messages = [];
    for await (const message of client.fetch("1:*", { uid: true, flags: true, envelope: true, bodyStructure: true, source: true, size: true })) {
        result.messages.push({
            uid: message.uid,
            size: message.size,
            subject: message.envelope.subject,
            type: message.bodyStructure.type,
            source: message.source.toString("latin1"),
        });
    }
    const found = await client.search({ subject: "needle" }, { uid: true });
    result.found = found;
    await client.messageFlagsAdd(found, ["\\Flagged", "Work"], { uid: true });
    result.flagged = await client.search({ keyword: "Work", flagged: true }, { uid: true });
    await client.messageMove(found, "Moved", { uid: true });
    result.left = await client.search({ subject: "needle" }, { uid: true });
    const upload = await client.append("Moved", "Subject: uploaded\r\n\r\nup\r\n", ["\\Seen"]);
    result.uploaded = upload.path;
    const status = await client.status("Moved", { messages: true, unseen: true });
    result.moved = [status.messages, status.unseen];
    const other = new ImapFlow(options);
    await other.connect();
    const news = told(client, "exists");
    const waiting = client.idle();
    await new Promise((resolve) => setTimeout(resolve, 300));
    const began = Date.now();
    await other.append("INBOX", "Subject: while waiting\r\n\r\nhere\r\n");
    const { count, prevCount } = await news;
    result.told = [prevCount, count, Date.now() - began];
    await client.noop();
    await waiting;
    const { content } = await client.download("1");
    let octets = 0;
    for await (const chunk of content) octets += chunk.length;
    result.downloaded = octets;
    result.folders = (await client.list()).map((folder) => folder.path);
    await other.logout();
    await client.logout();
    return JSON.stringify(result);
}

main().then(
    (line) => process.stdout.write(line + "\n", () => process.exit(0)),
    (error) => {
        console.error(error, error.response, error.responseText);
        process.exit(1);
    },
);
