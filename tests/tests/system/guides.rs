//! The guides tell the truth: their commands are run as they stand.

use std::process::Command;

/// Every fenced `sh` block of a guide, in order, as one script.
fn script(guide: &str) -> String {
    let text = std::fs::read_to_string(tests::root().join(guide)).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.collect::<Vec<_>>().concat()
}

#[test]
fn the_factory_guide_burns_a_unit_from_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let muster = tests::muster();
    let path = format!("{}:{}", muster.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let before = "muster cluster init --dir cluster --nats nats://127.0.0.1:4222";
    let ran = Command::new("sh")
        .args(["-eux", "-c", &format!("{before}\n{}", script("provisioning/FACTORY.md"))])
        .current_dir(dir.path())
        .env("PATH", path)
        .env_remove("MUSTER_CONTEXT")
        .output()
        .unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}");
    let manifest = std::fs::read_to_string(dir.path().join("manifest-1.bin")).unwrap();
    assert!(manifest.starts_with("muster manifest v1"), "{said}");
}
