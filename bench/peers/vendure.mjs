// Vendure with a catalogue as large as ours, on a PostgreSQL. Arguments: port, database URL, products. /readyz says when it is filled.
import { createRequire } from "node:module";

const {
  ChannelService, DefaultLogger, FastImporterService, LanguageCode, LogLevel, Populator, RequestContext, TaxCategoryService,
  bootstrap, dummyPaymentHandler,
} = createRequire(import.meta.url)("@vendure/core");

const [port, url, products] = [Number(process.argv[2]), process.argv[3], Number(process.argv[4])];
let filled = false;

const config = {
  apiOptions: {
    hostname: "127.0.0.1",
    port,
    adminApiPath: "admin-api",
    shopApiPath: "shop-api",
    middleware: [
      { route: "readyz", handler: (_request, response) => response.status(filled ? 200 : 503).send(filled ? "ok" : "filling") },
    ],
  },
  authOptions: {
    tokenMethod: ["bearer"],
    superadminCredentials: { identifier: "bench", password: "bench-on-loopback" },
    requireVerification: false,
  },
  dbConnectionOptions: { type: "postgres", url, synchronize: true, logging: false, migrations: [], poolSize: 20 },
  paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
  logger: new DefaultLogger({ level: LogLevel.Error }),
  plugins: [],
};

const initial = {
  defaultLanguage: LanguageCode.en,
  defaultZone: "Asia",
  countries: [{ name: "India", code: "IN", zone: "Asia" }],
  taxRates: [{ name: "Standard", percentage: 0 }],
  shippingMethods: [{ name: "Standard", price: 500 }],
  paymentMethods: [],
  collections: [],
};

async function fill(app) {
  await app.get(Populator).populateInitialData(initial);
  const channel = await app.get(ChannelService).getDefaultChannel();
  const importer = app.get(FastImporterService);
  await importer.initialize(channel);
  const categories = await app.get(TaxCategoryService).findAll(RequestContext.empty());
  const taxCategoryId = (categories.items ?? categories)[0].id;
  const translation = (name, more) => [{ languageCode: LanguageCode.en, name, ...more }];

  async function product(number) {
    const name = `Good ${String(number).padStart(5, "0")}`;
    const productId = await importer.createProduct({
      enabled: true,
      translations: translation(name, { slug: `good-${number}`, description: name }),
    });
    for (const size of ["250 g", "1 kg"]) {
      await importer.createProductVariant({
        productId,
        sku: `SKU-${number}-${size}`,
        price: 1000 + ((number * 37) % 90000),
        stockOnHand: 1000,
        trackInventory: "TRUE",
        taxCategoryId,
        optionIds: [],
        translations: translation(`${name} ${size}`),
      });
    }
  }

  let next = 0;
  const worker = async () => {
    while (next < products) await product(next++);
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}

process.on("SIGTERM", () => process.exit(0));
const app = await bootstrap(config);
await fill(app);
filled = true;
