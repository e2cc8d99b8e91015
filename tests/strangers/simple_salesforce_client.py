"""simple-salesforce against the org stand-in: REST and Bulk API 2.0, with the results that its documentation promises."""

import os

from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceMalformedRequest, SalesforceResourceNotFound

salesforce = Salesforce(
    instance_url=os.environ["ORG_URL"], session_id=os.environ["ORG_TOKEN"], version="66.0"
)


def expect(what, found, expected):
    assert found == expected, f"{what}: {found!r} instead of {expected!r}"


def names(where):
    records = salesforce.query(f"SELECT Name FROM Account WHERE {where} ORDER BY Name")["records"]
    return [record["Name"] for record in records]


def rest():
    made = salesforce.Account.create({"Name": "O'Brien & Søn", "Customer_Key__c": "9001"})
    expect("create", (made["success"], made["errors"], len(made["id"])), (True, [], 18))
    account = made["id"]
    expect("get", salesforce.Account.get(account)["Name"], "O'Brien & Søn")
    expect("update", salesforce.Account.update(account, {"Name": "Renamed"}), 204)
    expect("by external id", salesforce.Account.get_by_custom_id("Customer_Key__c", "9001")["Id"], account)
    expect("upsert of one that is there", salesforce.Account.upsert("Customer_Key__c/9001", {"Name": "Again"}), 200)
    expect("upsert of a new one", salesforce.Account.upsert("Customer_Key__c/9002", {"Name": "New"}), 201)
    expect("query", names("Customer_Key__c IN ('9001', '9002')"), ["Again", "New"])
    try:
        salesforce.Account.create({"Customer_Key__c": "9003"})
        raise AssertionError("an account without a name was created")
    except SalesforceMalformedRequest as error:
        expect("refusal", error.content[0]["errorCode"], "REQUIRED_FIELD_MISSING")
    expect("delete", salesforce.Account.delete(account), 204)
    try:
        salesforce.Account.get(account)
        raise AssertionError("a deleted account is still there")
    except SalesforceResourceNotFound:
        pass
    fields = {field["name"]: field for field in salesforce.Account.describe()["fields"]}
    expect("describe", fields["Customer_Key__c"]["externalId"], True)
    expect("limits", salesforce.limits()["DailyBulkApiBatches"]["Max"], 15000)


def result(answer, total, failed):
    expect("jobs", len(answer), 1)
    counts = (answer[0]["numberRecordsProcessed"], answer[0]["numberRecordsFailed"])
    expect("counts", counts, (total, failed))
    return answer[0]["job_id"]


def bulk2():
    account = salesforce.bulk2.Account
    rows = [{"Customer_Key__c": f"80{n:02}", "Name": f'Bulk {n}, "quoted"'} for n in range(30)]
    job = result(account.insert(records=rows), 30, 0)
    created = account.get_successful_records(job)
    expect("created rows", created.count("\n") >= 30 and "sf__Created" in created, True)
    changed = [{"Customer_Key__c": f"80{n:02}", "Name": f"Upserted {n}"} for n in range(25, 35)]
    result(account.upsert(records=changed, external_id_field="Customer_Key__c"), 10, 0)
    expect("after the upsert", len(names("Name LIKE 'Upserted%'")), 10)
    records = salesforce.query("SELECT Id FROM Account WHERE Name LIKE 'Upserted%'")["records"]
    updates = [{"Id": record["Id"], "Name": "Updated"} for record in records]
    updates.append({"Id": "001000000000000AAA", "Name": "Nobody"})
    job = result(account.update(records=updates), 11, 1)
    expect("failed rows", "sf__Error" in account.get_failed_records(job), True)
    expect("after the update", names("Name = 'Updated'"), ["Updated"] * 10)
    pages = list(account.query("SELECT Id, Name FROM Account WHERE Name = 'Updated'"))
    expect("bulk query", sum(page.count('"Updated"') for page in pages), 10)
    result(account.delete(records=[{"Id": record["Id"]} for record in records]), 10, 0)
    expect("after the delete", names("Name = 'Updated'"), [])


rest()
bulk2()
print("simple-salesforce: REST and Bulk API 2.0 as documented")
