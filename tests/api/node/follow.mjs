// The stock client of graphql-ws: one query, one subscription to its end, one that is left, and a renewal on the way.
import { createClient } from "graphql-ws";

const [, , url, token] = process.argv;
const pongs = [];
const client = createClient({
  url,
  connectionParams: { authorization: `Bearer ${token}` },
  keepAlive: 50,
  retryAttempts: 0,
  on: { pong: (received, payload) => received && pongs.push(payload ?? null) },
});

async function all(query, most = Infinity) {
  const found = [];
  for await (const result of client.iterate({ query })) {
    found.push(result);
    if (found.length >= most) break;
  }
  return found;
}

const answers = {
  query: await all("{ viewer }"),
  mutation: await all("mutation { add(units: 2) { count } }"),
  ended: await all("subscription { count(upTo: 3) { number } }"),
  left: await all("subscription { ever }", 30),
};
await new Promise((resolve) => setTimeout(resolve, 150));
await client.dispose();
console.log(JSON.stringify({ ...answers, pongs: pongs.length }));
