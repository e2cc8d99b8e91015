// jsforce against the org stand-in: REST, queries and bulk2, with the results that its documentation promises.

const assert = require("node:assert");
const { createRequire } = require("node:module");
const { Connection } = createRequire(process.env.NODE_TOOLS + "/")("jsforce");

const connection = new Connection({
  instanceUrl: process.env.ORG_URL,
  accessToken: process.env.ORG_TOKEN,
  version: "66.0",
});
const poll = { pollTimeout: 60_000, pollInterval: 50 };

async function rest() {
  const made = await connection.sobject("Account").create([
    { Name: "O'Brien", Customer_Key__c: "7001" },
    { Name: "Zoë", Customer_Key__c: "7002" },
  ]);
  assert.deepStrictEqual(made.map((one) => one.success), [true, true]);
  const updated = await connection.sobject("Account").update({ Id: made[0].id, Name: "Renamed" });
  assert.strictEqual(updated.success, true);
  const upserted = await connection
    .sobject("Account")
    .upsert([{ Customer_Key__c: "7001", Name: "Again" }, { Customer_Key__c: "7003", Name: "New" }], "Customer_Key__c");
  assert.deepStrictEqual(upserted.map((one) => [one.success, one.created]), [[true, false], [true, true]]);
  const found = await connection.query("SELECT Name FROM Account WHERE Customer_Key__c IN ('7001','7003') ORDER BY Name");
  assert.deepStrictEqual(found.records.map((record) => record.Name), ["Again", "New"]);
  const refused = await connection.sobject("Account").create([{ Customer_Key__c: "7004" }]);
  assert.strictEqual(refused[0].errors[0].statusCode, "REQUIRED_FIELD_MISSING");
  const gone = await connection.sobject("Account").destroy([made[0].id, made[1].id, upserted[1].id]);
  assert.deepStrictEqual(gone.map((one) => one.success), [true, true, true]);
  assert.strictEqual((await connection.query("SELECT Id FROM Account WHERE Name = 'Again'")).totalSize, 0);
}

async function bulk2() {
  const load = (operation, input, more) =>
    connection.bulk2.loadAndWaitForResults({ object: "Account", operation, input, ...poll, ...more });
  const rows = Array.from({ length: 40 }, (_, n) => ({ Customer_Key__c: `60${n}`, Name: `Bulk ${n}, "quoted"` }));
  const inserted = await load("insert", rows);
  assert.deepStrictEqual(
    [inserted.successfulResults.length, inserted.failedResults.length, inserted.unprocessedRecords.length],
    [40, 0, 0],
  );
  assert.ok(inserted.successfulResults.every((row) => row.sf__Created === "true" && row.sf__Id.length === 18));
  const more = { externalIdFieldName: "Customer_Key__c" };
  const upserted = await load("upsert", [{ Customer_Key__c: "601", Name: "Up" }, { Customer_Key__c: "6099", Name: "Up" }], more);
  assert.deepStrictEqual(upserted.successfulResults.map((row) => row.sf__Created).sort(), ["false", "true"]);
  const ids = (await connection.query("SELECT Id FROM Account WHERE Name = 'Up'")).records.map(({ Id }) => ({ Id }));
  const updated = await load("update", [...ids.map((id) => ({ ...id, Name: "Down" })), { Id: "001000000000000AAA", Name: "x" }]);
  assert.deepStrictEqual([updated.successfulResults.length, updated.failedResults.length], [2, 1]);
  assert.match(updated.failedResults[0].sf__Error, /^[A-Z_]+:/);
  const queried = await (await connection.bulk2.query("SELECT Id, Name FROM Account WHERE Name = 'Down'", poll)).toArray();
  assert.deepStrictEqual(queried.map((record) => record.Name), ["Down", "Down"]);
  const deleted = await load("delete", ids);
  assert.strictEqual(deleted.successfulResults.length, 2);
  assert.strictEqual((await connection.query("SELECT Id FROM Account WHERE Name = 'Down'")).totalSize, 0);
}

rest()
  .then(bulk2)
  .then(() => console.log("jsforce: REST, queries and bulk2 as documented"))
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
