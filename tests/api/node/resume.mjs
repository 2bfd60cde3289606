// The stock client of graphql-ws follows the stock of one listing over cut connections: its own retries go on from the last
// cursor, as the variables are read anew each time. Prints each frame as a line of JSON; ends at a version, cuts when told.
import { createInterface } from "node:readline";
import { createClient } from "graphql-ws";

const [, , url, storeId, listingId, last] = process.argv;
let after = null;
let connection = 0;
const client = createClient({
  url,
  retryAttempts: 600,
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 100)),
  shouldRetry: () => true,
  on: {
    connected: () => {
      connection += 1;
    },
  },
});
const variables = {
  storeId,
  ids: [listingId],
  get after() {
    return after;
  },
};
const query = `subscription ($storeId: ID!, $ids: [ID!], $after: String) {
  stock(storeId: $storeId, listingIds: $ids, after: $after) { cursor reset levels { listingId version } } }`;

createInterface({ input: process.stdin }).on("line", () => client.terminate());
for await (const { data, errors } of client.iterate({ query, variables })) {
  process.stdout.write(`${JSON.stringify({ connection, errors, ...data?.stock })}\n`);
  if (errors) process.exit(1);
  after = data.stock.cursor;
  if (data.stock.levels.some(({ version }) => version >= Number(last))) break;
}
await client.dispose();
process.exit(0);
