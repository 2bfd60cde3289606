// Mercurius over graphql-transport-ws: whoever subscribes is sent the frames that are posted to /tell. Port: the first argument.
import Fastify from "fastify";
import mercurius from "mercurius";

const schema = `
  type Query { ok: Boolean! }
  type Subscription { stock(storeId: ID!, listingIds: [ID!]): StockFrame! }
  type StockFrame { cursor: String! reset: Boolean! degraded: Boolean! levels: [StockLevel!]! }
  type StockLevel { listingId: ID! state: String! available: Int version: Int! asOf: String! }
`;
let watching = 0;

async function subscribe(_root, { storeId }, { pubsub }) {
  const frames = await pubsub.subscribe(storeId);
  watching += 1;
  return frames;
}

const app = Fastify({ logger: false, bodyLimit: 2 ** 24 });
app.register(mercurius, {
  schema,
  resolvers: { Query: { ok: () => true }, Subscription: { stock: { subscribe } } },
  subscription: true,
});
app.get("/readyz", async () => "ok");
app.get("/watching", async () => ({ watching }));
app.post("/tell", async (request) => {
  app.graphql.pubsub.publish({ topic: request.query.store, payload: { stock: request.body } });
  return "ok";
});
process.on("SIGTERM", () => process.exit(0));
await app.listen({ host: "127.0.0.1", port: Number(process.argv[2]) });
