//! The sales desk at a running cluster: codes that are told late are told as they were sold, and licenses after they were
//! redeemed.

use crate::support::{Ran, muster, muster_json};
use ops::dev::factory::burn_lot;
use ops::dev::stage::import;
use serde_json::Value;
use std::path::Path;

/// The command line at this cluster.
struct Desk<'a> {
    dir: &'a Path,
    context: String,
}

impl Desk<'_> {
    fn with_context<'b>(&'b self, arguments: &[&'b str]) -> Vec<&'b str> {
        [arguments, &["--context", &self.context]].concat()
    }

    fn done(&self, arguments: &[&str]) -> Value {
        muster_json(self.dir, &self.with_context(arguments))
    }

    fn ran(&self, arguments: &[&str]) -> Ran {
        muster(self.dir, &self.with_context(arguments))
    }

    fn license(&self, arguments: &[&str]) -> Value {
        self.done(&[&["license"], arguments, &["--reason", "a call", "--by", "kim"]].concat())
    }

    /// The cluster understood and refused, with this in what it said.
    fn refused(&self, arguments: &[&str], says: &str) {
        let ran = self.ran(&[&["license"], arguments, &["--reason", "a call"]].concat());
        assert_eq!(ran.code, 4, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("DECLINED") && ran.stderr.contains(says), "{}", ran.stderr);
    }
}

/// A context beside the real one, whose node is not there.
fn unreachable(context: &Path) -> String {
    let mut text: Value = serde_json::from_slice(&std::fs::read(context).unwrap()).unwrap();
    text["apis"] = serde_json::json!(["https://127.0.0.1:1"]);
    let file = context.with_file_name("unreachable.json");
    std::fs::write(&file, text.to_string()).unwrap();
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_that_are_told_late_grant_what_was_sold_and_licenses_obey_the_desk() {
    let staged = tests::staged(10).await;
    let stage = &staged.stage;
    let desk = Desk { dir: staged.dir.path(), context: stage.context_file.display().to_string() };

    // The cluster cannot be reached while codes are issued.
    let late = Desk { dir: desk.dir, context: unreachable(&stage.context_file) };
    let issue =
        ["code", "issue", "--count", "2", "--out", "late.csv", "--plan", "gold", "--entitlement", "uhd,dvr"];
    let terms = ["--term-days", "30", "--lease-hours", "6", "--reseller", "kiosk"];
    let ran = late.ran(&[&issue[..], &terms].concat());
    assert!(ran.code == 3 && ran.stderr.contains("--resume late.csv"), "{}", ran.stderr);
    let ran = desk.ran(&["code", "issue", "--resume", "late.csv", "--reseller", "somebody"]);
    assert!(ran.code == 2 && ran.stderr.contains("by kiosk"), "{}", ran.stderr);
    let told = desk.done(&["code", "issue", "--resume", "late.csv"]);
    assert_eq!((&told["count"], &told["duplicate"]), (&2.into(), &false.into()));
    let told = desk.done(&["code", "issue", "--resume", "late.csv", "--term-days", "30"]);
    assert_eq!(told["duplicate"], true, "{told}");
    let shown = desk.done(&["code", "show"]);
    let issues = shown["batches"].as_array().unwrap();
    let gold = issues.iter().find(|issue| issue["plan"]["name"] == "gold").unwrap();
    let plan = serde_json::json!({
        "name": "gold", "entitlements": ["uhd", "dvr"], "term_seconds": 30 * 86_400, "lease_seconds": 6 * 3_600,
    });
    assert_eq!((&gold["plan"], &gold["reseller"], &gold["issued"]), (&plan, &"kiosk".into(), &2.into()));

    let spares = burn_lot(&desk.dir.join("spares"), &stage.public, 1, |_| ()).unwrap();
    import(&stage.cluster.api, &spares).await.unwrap();
    let spare = spares.terminals[0].device.to_string();
    let licenses = desk.done(&["license", "list"]);
    let (id, owner) = (licenses[0]["license"].as_str().unwrap(), licenses[0]["device"].as_str().unwrap());
    let taken = licenses[1]["device"].as_str().unwrap();

    let done = desk.license(&["suspend", id]);
    assert_eq!(done["license"]["state"], "suspended", "{done}");
    assert_eq!(desk.license(&["suspend", id])["duplicate"], true);
    assert_eq!(desk.license(&["resume", id])["license"]["state"], "active");

    desk.refused(&["transfer", id, "--to", taken], "without a license");
    desk.refused(&["transfer", id, "--from", &spare, "--to", &spare], "license show");
    let done = desk.license(&["transfer", id, "--to", &spare]);
    assert_eq!(done["license"]["device"], spare.as_str(), "{done}");
    assert_ne!(spare, owner);

    let before = desk.done(&["license", "show", id])["expires"].clone();
    let done = desk.license(&["renew", id, "--days", "30"]);
    assert_ne!(done["license"]["expires"], before, "{done}");
    desk.refused(&["renew", id, "--until", "2027-01-01T00:00:00Z"], "not before the present one");

    let done = desk.license(&["reissue", id, "--out", "again.csv"]);
    assert_eq!(done["duplicate"], false, "{done}");
    assert_eq!(desk.license(&["reissue", id, "--out", "again.csv"])["duplicate"], true, "the same code");
    desk.refused(&["reissue", id, "--out", "late.csv"], "look at the present state");

    let orders = desk.done(&["operation", "list"]);
    assert_eq!(orders.as_array().unwrap().len(), 0, "{orders}");
    desk.done(&["device", "notify", taken, "--reason", "look at it"]);
    assert_eq!(desk.done(&["operation", "list", "--kind", "notify"]).as_array().unwrap().len(), 1);
    let none = desk.done(&["flag", "list", "--all", "--kind", "clone", "--device", taken]);
    assert_eq!(none.as_array().unwrap().len(), 0, "{none}");
}
